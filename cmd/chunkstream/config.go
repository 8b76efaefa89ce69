package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"chunkstream/secret"
)

// Where a flag's value comes from, the first that says something: the command line, the environment, chunkstream.yaml in this
// folder (or the file of --config), chunkstream.yaml in the user's folder, the default. In a file each setting has the flag's
// name with _ for -. At the top it is for every command that has it, below a command's name for that alone.

const configName = "chunkstream.yaml"

// configFile is a file that has been read.
type configFile struct {
	path string
	root *yaml.Node // a mapping, or nil when the file has nothing
}

// origin is where a value in a file stands.
func (f *configFile) at(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", f.path, n.Line, n.Column)
}

// configPaths are the files to look at, the one that goes first first. named is what --config says.
func configPaths(named string) (paths []string) {
	if named != "" {
		return []string{named}
	}
	paths = []string{configName}
	if user := userConfig(); user != "" {
		paths = append(paths, user)
	}
	return paths
}

// userConfig is the user's own file, by the XDG Base Directory Specification where the system has no other place.
func userConfig() string {
	folder := os.Getenv("XDG_CONFIG_HOME")
	if folder == "" {
		var err error
		if folder, err = os.UserConfigDir(); err != nil {
			return ""
		}
	}
	return filepath.Join(folder, "chunkstream", configName)
}

// readConfigs reads the files that are there; one that --config names must be.
func readConfigs(named string) (all []*configFile, err error) {
	for _, path := range configPaths(named) {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && named == "" {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		f := &configFile{path: path}
		var doc yaml.Node
		if err := yaml.Unmarshal(b, &doc); err != nil {
			return nil, fmt.Errorf("%s:%s", path, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: line "), "yaml: ", "1: "))
		}
		if len(doc.Content) > 0 {
			f.root = doc.Content[0]
			if f.root.Kind != yaml.MappingNode {
				return nil, fmt.Errorf("%s: want settings, \"name: value\"", f.at(f.root))
			}
		}
		all = append(all, f)
	}
	return all, nil
}

// entry is the value of a key in a mapping, or nil.
func entry(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func settingName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// find gives what a file says of a command's flag: the closest of what is for the command alone, for those around it, for all.
func (f *configFile) find(command []string, flag string) (found *yaml.Node) {
	at := f.root
	for i := 0; ; i++ {
		if n := entry(at, settingName(flag)); n != nil && (n.Kind != yaml.MappingNode || flag == "set") {
			found = n
		}
		if i == len(command) {
			return found
		}
		at = entry(at, settingName(command[i]))
	}
}

// plain is a node as kong takes values: strings, lists of them, maps of them.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, one := range n.Content {
			list[i] = one.Value
		}
		return list
	case yaml.MappingNode:
		all := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			all[n.Content[i].Value] = n.Content[i+1].Value
		}
		return all
	}
	return n.Value
}

// configs resolves flags from files. Kong asks it for what the command line does not say.
type configs struct{ files []*configFile }

// read reads and checks the files for a command line, unless it is of a command that does without them.
func (c *configs) read(args []string, app *kong.Node) (err error) {
	named := os.Getenv("CHUNKSTREAM_CONFIG")
	command := ""
	for i, arg := range args {
		value, ok := strings.CutPrefix(arg, "--config=")
		switch {
		case ok:
			named = value
		case arg == "--config" && i+1 < len(args):
			named = args[i+1]
		case arg == "--help" || arg == "-h":
			return nil
		case command == "" && !strings.HasPrefix(arg, "-") && (i == 0 || args[i-1] != "--config" && args[i-1] != "--color"):
			command = arg
		}
	}
	if slices.Contains([]string{"config", "version", "completion", "complete", "man"}, command) {
		return nil
	}
	if c.files, err = readConfigs(named); err != nil {
		return err
	}
	for _, f := range c.files {
		if problems := f.check(app); len(problems) > 0 {
			return problems[0]
		}
	}
	return nil
}

// Validate is part of kong.Resolver. What there is to check was checked when the files were read.
func (c *configs) Validate(*kong.Application) error { return nil }

// Resolve is part of kong.Resolver.
func (c *configs) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, _ := c.value(wordsOf(ctx.Selected()), flag)
	return value, nil
}

// value is what the files say of a flag, and where; nil when they or the environment say it otherwise.
func (c *configs) value(command []string, flag *kong.Flag) (value any, origin string) {
	for _, name := range flag.Tag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, ""
		}
	}
	for _, f := range c.files {
		if n := f.find(command, flag.Name); n != nil {
			return plain(n), f.at(n)
		}
	}
	if port := os.Getenv("PORT"); port != "" && flag.Name == "listen" && slices.Equal(command, []string{"serve"}) {
		return ":" + port, "PORT"
	}
	return nil, ""
}

// wordsOf is a command as it is typed.
func wordsOf(node *kong.Node) (words []string) {
	for ; node != nil && node.Type == kong.CommandNode; node = node.Parent {
		words = append(words, node.Name)
	}
	slices.Reverse(words)
	return words
}

// misfit is one thing wrong in a file.
type misfit struct{ where, what, suggestion string }

func (m misfit) Error() string {
	s := m.where + ": " + m.what
	if m.suggestion != "" {
		s += " (did you mean " + m.suggestion + "?)"
	}
	return s
}

// check gives everything in a file that no flag is for, or that its flag does not take.
func (f *configFile) check(app *kong.Node) (wrong []error) { return f.checkIn(f.root, app) }

func (f *configFile) checkIn(mapping *yaml.Node, node *kong.Node) (wrong []error) {
	if mapping == nil {
		return nil
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		bad := func(n *yaml.Node, what, suggestion string) { wrong = append(wrong, misfit{f.at(n), what, suggestion}) }
		if seen[key.Value] {
			bad(key, fmt.Sprintf("%s is there twice", key.Value), "")
			continue
		}
		seen[key.Value] = true
		if child := childOf(node, key.Value); child != nil && value.Kind == yaml.MappingNode {
			wrong = append(wrong, f.checkIn(value, child)...)
			continue
		}
		flags := flagsBelow(node)
		matching := slices.DeleteFunc(slices.Clone(flags), func(flag *kong.Flag) bool { return settingName(flag.Name) != key.Value })
		switch {
		case len(matching) == 0:
			var names []string
			for _, child := range node.Children {
				names = append(names, settingName(child.Name))
			}
			for _, flag := range flags {
				names = append(names, settingName(flag.Name))
			}
			bad(key, fmt.Sprintf("%q is not a setting", key.Value), nearestName(key.Value, names))
		case matching[0].Hidden:
			bad(key, key.Value+" is a secret: not in a file that others may read", matching[0].Tag.Envs[0])
		default:
			if err := takes(matching, value); err != nil {
				bad(value, fmt.Sprintf("%s: %v", key.Value, err), "")
			}
		}
	}
	return wrong
}

func childOf(node *kong.Node, setting string) *kong.Node {
	for _, child := range node.Children {
		if settingName(child.Name) == setting {
			return child
		}
	}
	return nil
}

// flagsBelow are the flags of a command and of those below it.
func flagsBelow(node *kong.Node) (flags []*kong.Flag) {
	for _, flag := range node.Flags {
		if flag.Name != "help" && flag.Name != "config" {
			flags = append(flags, flag)
		}
	}
	for _, child := range node.Children {
		flags = append(flags, flagsBelow(child)...)
	}
	return flags
}

// takes reports why no flag of some takes a value.
func takes(flags []*kong.Flag, value *yaml.Node) (err error) {
	for _, flag := range flags {
		// Into a value of its own: the flag's is for the command line.
		err = flag.Parse(kong.Scan().PushTyped(plain(value), kong.FlagValueToken), reflect.New(flag.Target.Type()).Elem())
		if err == nil && flag.Enum != "" && !slices.Contains(flag.EnumSlice(), value.Value) {
			err = fmt.Errorf("%q is none of %s", value.Value, strings.ReplaceAll(flag.Enum, ",", ", "))
		}
		if err == nil {
			return nil
		}
	}
	return errors.New(strings.TrimPrefix(err.Error(), "--"+flags[len(flags)-1].Name+": "))
}

// nearestName is the name with the fewest changes from a word, if they are few.
func nearestName(word string, names []string) (best string) {
	least := max(2, len(word)/3) + 1
	for _, name := range names {
		if d := changes(word, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// changes is the Levenshtein distance of two short words in bytes.
func changes(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			same := before
			if a[i] != b[j] {
				same++
			}
			before = row[j+1]
			row[j+1] = min(same, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

type configCmd struct {
	Init  configInitCmd  `cmd:"" help:"Write a chunkstream.yaml with every setting as a comment."`
	Check configCheckCmd `cmd:"" help:"Check the files: exit 2 and file:line:column of what is wrong."`
	Show  configShowCmd  `cmd:"" help:"Show the settings in effect."`
}

// Help is what --help shows below the commands.
func (configCmd) Help() string {
	return `Examples:
  chunkstream config init                   chunkstream.yaml in this folder
  chunkstream config check                  for CI: exit 2 with file:line:column
  chunkstream config show --origin chunk    each setting, and where it comes from

The first that says something counts: flag, environment (CHUNKSTREAM_…; also REDIS_URL, DATABASE_URL, PORT), chunkstream.yaml
in this folder or the file of --config, chunkstream.yaml in the user's folder, default. In a file a setting at the top is for
every command that has it, and one below a command's name for that alone:

  chunk_size: 512
  unit: tokens
  serve:
    listen: 127.0.0.1:8484`
}

type configInitCmd struct {
	User  bool `help:"The user's own file instead of this folder's."`
	Force bool `help:"Also when there is one already: it is replaced."`
}

// Run writes the file.
func (c *configInitCmd) Run(ctx *kong.Context, screen *screen) error {
	path := configName
	if c.User {
		if path = userConfig(); path == "" {
			return &exitError{exitUsage, errors.New("this user has no folder for configuration"), "export XDG_CONFIG_HOME=~/.config"}
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(path); err == nil && !c.Force {
		return &exitError{exitUsage, fmt.Errorf("%s is there already", path), "--force replaces it"}
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := newWholeFile(path, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.Write([]byte(configTemplate(ctx.Model.Node))); err != nil {
		return errors.Join(err, f.discard())
	}
	if err := f.keep(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(screen.out, path)
	return err
}

// configTemplate has every setting of the commands that one sets up once, as comments.
func configTemplate(app *kong.Node) string {
	var b strings.Builder
	b.WriteString("# Settings of chunkstream. Flags and the environment go first; see: chunkstream config --help\n" +
		"# At the top a setting is for every command that has it, below a command's name for that alone.\n")
	for _, name := range []string{"chunk", "lint", "serve", "worker"} {
		fmt.Fprintf(&b, "\n#%s:\n", name)
		for _, flag := range childOf(app, name).Flags {
			if flag.Hidden || flag.Name == "help" {
				continue
			}
			fmt.Fprintf(&b, "\n  # %s\n  #%s: %s\n", flag.Help, settingName(flag.Name), yamlText(flag.Default))
		}
	}
	return b.String()
}

// yamlText is a value as YAML writes it on a line.
func yamlText(value any) string {
	var n yaml.Node
	if n.Encode(value) != nil {
		return ""
	}
	n.Style |= yaml.FlowStyle
	b, err := yaml.Marshal(&n)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

type configCheckCmd struct{}

// Run checks each file.
func (configCheckCmd) Run(ctx *kong.Context, screen *screen) error {
	files, err := readConfigs(screen.Config)
	if err != nil {
		return &exitError{exitUsage, err, ""}
	}
	n := 0
	for _, f := range files {
		for _, problem := range f.check(ctx.Model.Node) {
			n++
			fmt.Fprintln(screen.err, problem)
		}
		fmt.Fprintln(screen.out, f.path)
	}
	if len(files) == 0 {
		fmt.Fprintln(screen.err, "no file: chunkstream config init writes one")
	}
	if n > 0 {
		return &exitError{exitUsage, fmt.Errorf("%d problems", n), ""}
	}
	return nil
}

type configShowCmd struct {
	Command []string `arg:"" optional:"" help:"Of this command alone, such as chunk or bench service."`
	Origin  bool     `help:"Say where each comes from."`
}

// Run shows the settings that have a value, as YAML.
func (c *configShowCmd) Run(ctx *kong.Context, screen *screen) error {
	files, err := readConfigs(screen.Config)
	if err != nil {
		return &exitError{exitUsage, err, ""}
	}
	all := configs{files}
	shown := false
	for _, node := range ctx.Model.Leaves(true) {
		words := wordsOf(node)
		if len(c.Command) > 0 && !slices.Equal(c.Command, words) {
			continue
		}
		shown = true
		for i, w := range words {
			fmt.Fprintf(screen.out, "%s%s:\n", strings.Repeat("  ", i), settingName(w))
		}
		for _, flag := range node.Flags {
			if flag.Hidden || flag.Name == "help" {
				continue
			}
			if value, origin := all.effective(words, flag); value != nil {
				line := strings.Repeat("  ", len(words)) + settingName(flag.Name) + ": " + yamlText(value)
				if c.Origin {
					line = fmt.Sprintf("%-40s # %s", line, origin)
				}
				fmt.Fprintln(screen.out, line)
			}
		}
	}
	if !shown {
		return &exitError{exitUsage, fmt.Errorf("%q is not a command", strings.Join(c.Command, " ")), "chunkstream --help lists them"}
	}
	return nil
}

// effective is a flag's value without a command line, and where it comes from; nil for none. Passwords are left out.
func (c *configs) effective(command []string, flag *kong.Flag) (any, string) {
	for _, name := range flag.Tag.Envs {
		if value, ok := os.LookupEnv(name); ok {
			return shown(value, flag), name
		}
	}
	if value, origin := c.value(command, flag); value != nil {
		if s, ok := value.(string); ok {
			value = shown(s, flag)
		}
		return value, origin
	}
	if flag.HasDefault && flag.Default != "" {
		return typed(flag.Default), "default"
	}
	return nil, ""
}

// shown is a text as YAML would read it; of a secret it is what may be seen.
func shown(text string, flag *kong.Flag) any {
	if flag.Target.Type() == reflect.TypeFor[secret.Text]() {
		return secret.New(text).Place()
	}
	return typed(text)
}

// typed is a text as YAML would read it, without the password of a URL.
func typed(text string) any {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	if text == "true" || text == "false" {
		return text == "true"
	}
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return text
}

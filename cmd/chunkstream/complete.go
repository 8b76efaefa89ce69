package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"chunkstream/check"
	"chunkstream/chunk"
	"chunkstream/export"
)

// completionCmd prints what a shell needs to complete command lines. The shell asks the program itself, so what it offers is
// always what this version takes.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is what --help shows below the flags.
func (completionCmd) Help() string {
	return `Examples:
  source <(chunkstream completion bash)                                            now, in bash
  chunkstream completion bash > ~/.local/share/bash-completion/completions/chunkstream
  chunkstream completion zsh > "${fpath[1]}/_chunkstream"
  chunkstream completion fish > ~/.config/fish/completions/chunkstream.fish`
}

// Run prints it.
func (c *completionCmd) Run(screen *screen) error {
	_, err := fmt.Fprint(screen.out, map[string]string{
		"bash": `_chunkstream() {
  local IFS=$'\n' line
  COMPREPLY=()
  while read -r line; do
    COMPREPLY+=("${line%%$'\t'*}")
  done < <(chunkstream complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _chunkstream chunkstream
`,
		"zsh": `#compdef chunkstream
_chunkstream() {
  local -a offered
  local line
  while IFS= read -r line; do
    offered+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done < <(chunkstream complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( ${#offered} )); then
    _describe chunkstream offered
  else
    _files
  fi
}
if [ "$funcstack[1]" = _chunkstream ]; then
  _chunkstream "$@"
else
  compdef _chunkstream chunkstream
fi
`,
		"fish": `complete -c chunkstream -a '(chunkstream complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
	}[c.Shell])
	return err
}

// completeCmd is what the shells ask: the words so far, the last of them unfinished.
type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints a candidate a line, behind a tab what it is. None means a file's name.
func (c *completeCmd) Run(ctx *kong.Context, screen *screen) error {
	for _, one := range candidates(ctx.Model.Node, c.Words) {
		if _, err := fmt.Fprintf(screen.out, "%s\t%s\n", one.word, one.is); err != nil {
			return written(err)
		}
	}
	return nil
}

type candidate struct{ word, is string }

// candidates are what the last word may become.
func candidates(node *kong.Node, words []string) (all []candidate) {
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "=" || w == "--" }) // bash splits at =
	if len(words) == 0 {
		words = []string{""}
	}
	flags := slices.Clone(node.Flags)
	var wants *kong.Flag // the flag whose value is next
	for _, w := range words[:len(words)-1] {
		if wants != nil {
			wants = nil
			continue
		}
		if child := childOf(node, settingName(w)); child != nil && !child.Hidden {
			node = child
			flags = append(flags, child.Flags...)
			continue
		}
		wants = flagOf(flags, w)
	}
	last, prefix := words[len(words)-1], ""
	if name, value, ok := strings.Cut(last, "="); ok && wants == nil {
		if wants = flagOf(flags, name); wants != nil {
			last, prefix = value, name+"="
		}
	}
	offer := func(word, is string) {
		if strings.HasPrefix(word, last) {
			is, _, _ = strings.Cut(is, ". ")
			all = append(all, candidate{prefix + word, strings.ReplaceAll(is, "\n", " ")})
		}
	}
	switch {
	case wants != nil:
		for _, value := range valuesOf(wants) {
			offer(value.word, value.is)
		}
	case strings.HasPrefix(last, "-"):
		for _, flag := range flags {
			if !flag.Hidden {
				offer("--"+flag.Name, flag.Help)
			}
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				offer(child.Name, child.Help)
			}
		}
		for _, value := range node.Positional {
			if value.Enum != "" {
				for _, one := range value.EnumSlice() {
					offer(one, value.Help)
				}
			} else if value.Name == "strategy" {
				for _, s := range strategies() {
					offer(s.word, s.is)
				}
			}
		}
	}
	return all
}

// flagOf is the flag of a word that still wants its value.
func flagOf(flags []*kong.Flag, word string) *kong.Flag {
	for _, flag := range flags {
		if (word == "--"+flag.Name || flag.Short != 0 && word == "-"+string(flag.Short)) && !flag.IsBool() {
			return flag
		}
	}
	return nil
}

// valuesOf are the values that a flag takes, where they can be listed.
func valuesOf(flag *kong.Flag) (all []candidate) {
	list := func(words ...string) {
		for _, w := range words {
			all = append(all, candidate{w, flag.Help})
		}
	}
	switch flag.Name {
	case "strategy":
		return append(strategies(), candidate{"auto", "by what each file is"})
	case "tokenizer", "count":
		list("cl100k_base", "o200k_base", "p50k_base", "r50k_base")
	case "unit":
		list("chars", "bytes", "words", "tokens")
	case "format", "to":
		list(export.Formats()...)
	case "allow":
		for _, kind := range check.Kinds() {
			list(string(kind))
		}
	default:
		if flag.Enum != "" {
			list(slices.DeleteFunc(flag.EnumSlice(), func(s string) bool { return s == "" })...)
		}
	}
	return all
}

func strategies() (all []candidate) {
	for _, info := range chunk.Strategies() {
		all = append(all, candidate{info.Name, info.Summary})
	}
	return all
}

package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// manCmd prints the manual page, chunkstream(1), in the language of man(7).
type manCmd struct{}

// Run prints it.
func (manCmd) Run(ctx *kong.Context, screen *screen) error {
	var b strings.Builder
	app := ctx.Model.Node
	fmt.Fprintf(&b, ".TH CHUNKSTREAM 1 \"\" \"chunkstream %s\" \"User Commands\"\n", version())
	fmt.Fprintf(&b, ".SH NAME\nchunkstream \\- %s\n", roff(strings.TrimSuffix(app.Help, ".")))
	b.WriteString(".SH SYNOPSIS\n.B chunkstream\n.I command\n[\\fIflags\\fR] [\\fIarguments\\fR]\n")
	b.WriteString(".SH DESCRIPTION\nData goes to standard output, words to standard error.\n")
	b.WriteString(".SH FLAGS\n")
	manFlags(&b, app.Flags)
	b.WriteString(".SH COMMANDS\n")
	for _, node := range app.Leaves(true) {
		fmt.Fprintf(&b, ".SS %s\n%s\n", roff("chunkstream "+commandOf(node)), roff(node.Help))
		for _, arg := range node.Positional {
			fmt.Fprintf(&b, ".TP\n.I %s\n%s\n", roff(arg.Summary()), roff(arg.Help))
		}
		manFlags(&b, node.Flags)
		if node.Detail != "" {
			fmt.Fprintf(&b, ".PP\n.nf\n%s\n.fi\n", roff(node.Detail))
		}
	}
	b.WriteString(".SH EXIT STATUS\n")
	for _, row := range exitCodes {
		fmt.Fprintf(&b, ".TP\n.B %d\n%s\n", row.code, roff(row.means))
	}
	b.WriteString(".SH ENVIRONMENT\nEach flag has a variable, \\fBCHUNKSTREAM_\\fR and its name in capitals. Also read are REDIS_URL, DATABASE_URL, " +
		"PORT, NO_COLOR and CLICOLOR_FORCE.\n")
	b.WriteString(".SH FILES\n.TP\n.I chunkstream.yaml\nSettings of this folder; see \\fBchunkstream config \\-\\-help\\fR.\n" +
		".TP\n.I ~/.config/chunkstream/chunkstream.yaml\nSettings of the user.\n")
	_, err := fmt.Fprint(screen.out, b.String())
	return written(err)
}

// exitCodes are the same for every command.
var exitCodes = []struct {
	code  int
	means string
}{
	{0, "All done."}, {exitFailed, "Some inputs failed, or a check found problems."}, {exitUsage, "Usage or configuration error."},
	{exitNothing, "Nothing matched."}, {exitDenied, "Not authorised."}, {exitNoReach, "A server or a database could not be reached."},
	{exitInterrupted, "Interrupted."},
}

func manFlags(b *strings.Builder, flags []*kong.Flag) {
	for _, flag := range flags {
		if flag.Hidden || flag.Name == "help" {
			continue
		}
		short := ""
		if flag.Short != 0 {
			short = fmt.Sprintf("\\-%c, ", flag.Short)
		}
		value := ""
		if !flag.IsBool() {
			value = "=\\fI" + roff(flag.FormatPlaceHolder()) + "\\fR"
		}
		fmt.Fprintf(b, ".TP\n\\fB%s\\-\\-%s\\fR%s\n%s\n", short, roff(flag.Name), value, roff(flag.Help))
	}
}

// roff is a text in which nothing is a command of man(7).
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// commandOf is a command as it is typed behind the program's name.
func commandOf(node *kong.Node) string { return strings.Join(wordsOf(node), " ") }

// Command chunkstream turns documents into chunks: a service with live progress, and the tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"chunkstream/sandbox"
)

// Exit codes, the same for every command.
const (
	exitFailed  = 1 // it ran and something failed
	exitUsage   = 2 // flags, environment or configuration are wrong
	exitDenied  = 4 // a server wants a key, or another one
	exitNoReach = 5 // a server or database cannot be reached
)

// exitError is an error that knows its exit code and how to mend it.
type exitError struct {
	code  int
	cause error
	hint  string // what to do about it, a command if there is one
}

func (e *exitError) Error() string { return e.cause.Error() }
func (e *exitError) Unwrap() error { return e.cause }

type commands struct {
	screen

	Chunk   chunkCmd   `cmd:"" help:"Cut files into chunks, here, without a server."`
	Compare compareCmd `cmd:"" help:"Cut a file in several ways and compare them."`
	Lint    lintCmd    `cmd:"" help:"Check the chunks of files, for CI: exit 1 if something is wrong with them."`
	Ops     opsCmd     `cmd:"" help:"Operations of a service: list, show, watch, cancel, retry."`
	Docs    docsCmd    `cmd:"" help:"Documents of a service: list, get, delete."`
	Serve   serveCmd   `cmd:"" help:"Run the service: HTTP API, live events and workers in one process."`
	Worker  workerCmd  `cmd:"" help:"Work on operations that other processes take in."`
	Keys    keysCmd    `cmd:"" help:"Make, list and revoke API keys."`
	Demo    demoCmd    `cmd:"" help:"Show it: Redis and a worker are killed in the middle, and nothing is lost."`
	Config  configCmd  `cmd:"" help:"The configuration file: init, check, show."`
	Doctor  doctorCmd  `cmd:"" help:"Look at everything the service would stand on, and say what to mend."`
	Bench   BenchCmd   `cmd:"" help:"Measure it on this machine."`
	Version versionCmd `cmd:"" help:"Print the version."`

	Completion completionCmd `cmd:"" help:"Print what bash, zsh or fish need to complete command lines."`
	Complete   completeCmd   `cmd:"" hidden:""`
	Man        manCmd        `cmd:"" hidden:"" help:"Print the manual page."`
}

type versionCmd struct{}

// Help is what --help shows below the description.
func (commands) Help() string {
	return `Examples:
  chunkstream chunk README.md             a table of its chunks, here and now
  chunkstream chunk docs/ -o chunks.jsonl a whole folder
  chunkstream lint docs/                  what is wrong with the chunks, for CI
  chunkstream compare README.md           what each strategy makes of it
  chunkstream serve                       the service, with a page in the browser
  chunkstream ops watch op_…              follow an operation of a service`
}

// Run prints the version, the commit it was built from if known, and the platform.
func (versionCmd) Run() error {
	fmt.Println("chunkstream", version(), runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
	return nil
}

// release is the version; packaging/dist sets it by -X main.release.
var release = "0.1.0"

// version is the release, with the commit if the program was built in a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return release
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return release + "+" + s.Value[:12]
		}
	}
	return release
}

func main() {
	// The first signal asks for an orderly end; once it has come, the second ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes one command line and gives the exit code.
func run(ctx context.Context, args []string) int {
	if len(args) == 2 && args[0] == sandbox.Argument {
		return parseChild(args[1])
	}
	cmds := commands{screen: screen{in: os.Stdin, out: os.Stdout, err: os.Stderr}}
	settings := &configs{}
	parser, err := kong.New(&cmds,
		kong.Name("chunkstream"),
		kong.Description("Documents in, durable chunks out, progress live."),
		kong.UsageOnError(),
		kong.DefaultEnvars("CHUNKSTREAM"),
		kong.Resolvers(settings),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&cmds.screen),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chunkstream:", err)
		return exitUsage
	}
	if err := settings.read(args, parser.Model.Node); err != nil {
		fmt.Fprintf(os.Stderr, "chunkstream: %v\n  See: chunkstream config --help\n", err)
		return exitUsage
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "chunkstream: %v\n  See: chunkstream --help\n", err)
		return exitUsage
	}
	err = parsed.Run()
	if err == nil {
		return 0
	}
	words := fmt.Sprintln("chunkstream:", err)
	code := exitFailed
	if e, ok := errors.AsType[*exitError](err); ok {
		code = e.code
		if e.hint != "" {
			words += fmt.Sprintln("  Try:", e.hint)
		}
	}
	if name := parsed.Selected().Name; name == "serve" || name == "worker" {
		lastWords(words)
	} else {
		fmt.Fprint(os.Stderr, words)
	}
	return code
}

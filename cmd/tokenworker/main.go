package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"
)

// version is set by the linker; see the Makefile.
var version string //nolint:gochecknoglobals // the linker can set nothing else

// Exit codes.
const (
	exitFailed = 1 // it was understood and did not work
	exitUsage  = 2 // it was not understood
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // before anything stops: the second signal ends the process at once, as by default
		cancel()
	}()
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := (&app{stdin: stdin, stdout: stdout, stderr: stderr}).root().Run(ctx, args)
	var failed *failure
	if err == nil {
		return 0
	}
	// A joined error has a line for each of its parts.
	_, _ = fmt.Fprintln(stderr, "tokenworker: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	if errors.As(err, &failed) {
		return exitFailed
	}
	return exitUsage
}

// app is what every command has at hand.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	logLevel, logFormat string
	log                 *slog.Logger // made before any command's action runs
}

func (a *app) root() *cli.Command {
	root := &cli.Command{
		Name:    "tokenworker",
		Usage:   "keeps the access and refresh tokens of your customers' connections",
		Version: buildVersion(),
		Description: "Start with `tokenworker demo`, which shows the whole story in a temporary folder, or with " +
			"`tokenworker dev`, a worker with everything it needs in one process.\n\n" +
			"Every flag can be given as an environment variable: --data-dir as TOKENWORKER_DATA_DIR. Not so what says " +
			"what to destroy, and that it is meant: see the command's help.\n" +
			"Exit codes: 0 it worked, 1 it did not, 2 wrong use.",
		Flags:                           a.logFlags(),
		Before:                          a.openLog,
		Reader:                          a.stdin,
		Writer:                          a.stdout,
		ErrWriter:                       a.stderr,
		EnableShellCompletion:           true,
		ConfigureShellCompletionCommand: func(c *cli.Command) { c.Hidden = false },
		// Errors are printed, and exit codes chosen, in one place: run.
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		Commands: []*cli.Command{
			a.demoCommand(), a.devCommand(), a.runCommand(),
			a.publishCommand(), a.refreshCommand(), a.disconnectCommand(), a.listCommand(), a.inspectCommand(), a.historyCommand(), a.dlqCommand(),
			a.eraseCommand(), a.exportCommand(),
			a.setupCommand(), a.doctorCommand(), a.keysCommand(), a.auditCommand(), a.restoreCommand(), a.rewrapCommand(),
			a.providersCommand(),
			a.versionCommand(),
		},
	}
	return strict(root)
}

func (a *app) versionCommand() *cli.Command {
	return &cli.Command{
		Name:     "version",
		Usage:    "print the version",
		Category: "About",
		Action: func(context.Context, *cli.Command) error {
			_, err := fmt.Fprintln(a.stdout, buildVersion())
			return err
		},
	}
}

// buildVersion is what the linker was told, else what the Go toolchain noted.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v3"
)

// errNotConfirmed ends a command that was not confirmed, before it has done anything.
var errNotConfirmed = errors.New("not confirmed; nothing was done")

// yesFlag is the confirmation of what cannot be taken back. It has no environment variable, and neither has any flag that
// says what such a command is about: what is left over in an environment must not destroy anything.
func yesFlag(to *bool) cli.Flag {
	return &cli.BoolFlag{Name: "yes", Destination: to, Usage: "do it without asking"}
}

// dryRunFlag is its opposite.
func dryRunFlag(to *bool) cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Destination: to, Usage: "only show what would be done"}
}

// confirm has the user type a word before something that cannot be undone. Where nobody can be asked, --yes is needed.
func (a *app) confirm(ctx context.Context, yes bool, what, word string) error {
	if yes {
		return nil
	}
	if !a.asksPeople() {
		return wrongUse("%s. Standard input is not a terminal: confirm with --yes", what)
	}
	if _, err := fmt.Fprintf(a.stderr, "%s. Type %s to go on: ", what, word); err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	answered := make(chan string, 1)
	go func() { // a read from a terminal does not end with ctx; the process does
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answered <- strings.TrimSpace(line)
	}()
	select {
	case answer := <-answered:
		if answer == word {
			return nil
		}
	case <-ctx.Done():
	}
	return errNotConfirmed
}

// asksPeople reports whether standard input is a terminal.
func (a *app) asksPeople() bool {
	f, isFile := a.stdin.(*os.File)
	if !isFile {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// failure marks an error of an action that was used rightly: exit code 1. Every other error is wrong use: exit code 2.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usageError is wrong use that only an action can tell.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func wrongUse(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// strict makes a command and all below it refuse what they do not understand, by returning an error.
func strict(c *cli.Command) *cli.Command {
	c.OnUsageError = func(_ context.Context, _ *cli.Command, err error, _ bool) error { return err }
	if c.ArgValidator == nil {
		c.ArgValidator = noArguments
	}
	if action := c.Action; action != nil {
		c.HideHelpCommand = true // a leaf: `help` after it would be an argument
		c.Action = func(ctx context.Context, c *cli.Command) error {
			err := action(ctx, c)
			if wrong := (*usageError)(nil); err == nil || errors.As(err, &wrong) {
				return err
			}
			return &failure{err}
		}
	}
	for _, sub := range c.Commands {
		strict(sub)
	}
	return c
}

// noArguments refuses arguments. For a group of commands an argument is a command that it does not have.
func noArguments(_ context.Context, c *cli.Command) error {
	isGroup := len(commandNames(c)) > 0
	switch {
	case c.Name == "help": // the library's, whose arguments name a command
		return nil
	case isGroup && c.Args().Present():
		return wrongUse("unknown command %q%s", c.Args().First(), suggestion(c))
	case isGroup && c.Root() != c: // without a command the program shows its help
		return wrongUse("%s needs a command: %s", c.Name, strings.Join(commandNames(c), ", "))
	case !isGroup && c.Args().Present():
		return wrongUse("%s takes no arguments", c.Name)
	}
	return nil
}

// suggestion is what the user may have meant.
func suggestion(c *cli.Command) string {
	if near := cli.SuggestCommand(c.Commands, c.Args().First()); slices.Contains(commandNames(c), near) {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

func commandNames(c *cli.Command) []string {
	var names []string
	for _, sub := range c.VisibleCommands() {
		if sub.Name != "help" {
			names = append(names, sub.Name)
		}
	}
	return names
}

// oneArgument demands the argument that the command's ArgsUsage names.
func oneArgument(_ context.Context, c *cli.Command) error {
	if c.Args().Len() != 1 {
		return wrongUse("%s takes one argument: %s", c.Name, c.ArgsUsage)
	}
	return nil
}

// anyArguments leaves the arguments to the action.
func anyArguments(context.Context, *cli.Command) error { return nil }

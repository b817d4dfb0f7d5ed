package main

import (
	"context"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v3"
)

// env names the environment variable of a flag. Every flag has one, but for those that must be meant: see yesFlag.
func env(flag string) cli.ValueSourceChain {
	return cli.EnvVars("TOKENWORKER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")))
}

// logFlags are global: they may stand before or after the command.
func (a *app) logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "log-level", Sources: env("log-level"), Value: "info", Destination: &a.logLevel,
			Usage: "what is worth a line on stderr: debug, info, warn or error",
		},
		&cli.StringFlag{
			Name: "log-format", Sources: env("log-format"), Value: "text", Destination: &a.logFormat,
			Usage: "how lines are written: text or json",
		},
	}
}

// openLog makes the logger of the level and format that the flags name.
func (a *app) openLog(ctx context.Context, _ *cli.Command) (context.Context, error) {
	options := &slog.HandlerOptions{}
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return ctx, wrongUse("--log-level is %q, want debug, info, warn or error", a.logLevel)
	}
	options.Level = level
	switch a.logFormat {
	case "text":
		a.log = slog.New(slog.NewTextHandler(a.stderr, options))
	case "json":
		a.log = slog.New(slog.NewJSONHandler(a.stderr, options))
	default:
		return ctx, wrongUse("--log-format is %q, want text or json", a.logFormat)
	}
	return ctx, nil
}

func jsonFlag(to *bool) cli.Flag {
	return &cli.BoolFlag{
		Name: "json", Sources: env("json"), Destination: to, Usage: "print one JSON object a line",
	}
}

// targetFlags say what a command works on: a deployment or the data directory of the embedded mode.
type targetFlags struct {
	dataDir string

	natsURL, natsCA, natsCert, natsKey string
	nats                               natsUser
	natsInbox                          string
	access                             natsUser // who answers reads
	eraser                             natsUser // who deletes messages

	table      string
	kmsKeys    []string
	orgKMSKeys string
}

// deployed reports whether the flags name a deployment.
func (f *targetFlags) deployed() bool { return f.natsURL != "" || f.table != "" }

// flags are those of commands that work on either.
func (f *targetFlags) flags() []cli.Flag {
	return append([]cli.Flag{dataDirFlag(&f.dataDir, "`DIR` of the embedded mode, where `tokenworker dev` runs; used "+
		"unless --nats-url or --table is given")}, f.deploymentFlags()...)
}

func dataDirFlag(to *string, usage string) cli.Flag {
	return &cli.StringFlag{
		Name: "data-dir", Sources: env("data-dir"), Destination: to, Value: defaultDataDir(), TakesFile: true, Usage: usage,
		DefaultText: "tokenworker in $XDG_DATA_HOME or ~/.local/share",
	}
}

// deploymentFlags are the flags of a deployment. AWS is configured where the AWS SDK looks for it.
func (f *targetFlags) deploymentFlags() []cli.Flag {
	file := func(name, usage string, to *string) cli.Flag {
		return &cli.StringFlag{Name: name, Sources: env(name), Destination: to, Usage: usage, TakesFile: true}
	}
	return []cli.Flag{
		&cli.StringFlag{
			Name: "nats-url", Sources: env("nats-url"), Destination: &f.natsURL,
			Usage: "`URL` of NATS, or several with commas between: nats://, tls:// or ws://, without credentials",
		},
		file("nats-creds", "`FILE` with the NATS user's JWT and key", &f.nats.creds),
		&cli.StringFlag{
			Name: "nats-user", Sources: env("nats-user"), Destination: &f.nats.name, Usage: "`NAME` of the NATS user",
		},
		file("nats-password-file", "`FILE` with that user's password", &f.nats.passwordFile),
		&cli.StringFlag{
			Name: "nats-inbox", Sources: env("nats-inbox"), Destination: &f.natsInbox, Value: "_INBOX",
			Usage: "`PREFIX` of the subjects on which that user hears answers",
		},
		file("nats-ca", "`FILE` with the certificates that NATS servers are trusted by; default the system's", &f.natsCA),
		file("nats-cert", "`FILE` with this client's certificate", &f.natsCert),
		file("nats-key", "`FILE` with the certificate's key", &f.natsKey),
		&cli.StringFlag{
			Name: "table", Sources: env("table"), Destination: &f.table, DefaultText: defaultTable,
			Usage: "`NAME` of the DynamoDB table",
		},
		&cli.StringSliceFlag{
			Name: "kms-key", Sources: env("kms-key"), Destination: &f.kmsKeys, DefaultText: defaultKMSKey,
			Usage: "`KEY` of KMS by ARN, id or alias; may be repeated: the first wraps new data keys, the others only unwrap older ones",
		},
		file("org-kms-keys", "`FILE` with a line `ORG: KEY` for each organization that has a KMS key of its own, in YAML", &f.orgKMSKeys),
	}
}

// accessFlags name the user that answers reads.
func (f *targetFlags) accessFlags() []cli.Flag {
	return f.access.flags("access", "that answers reads")
}

// eraserFlags name the user that deletes messages.
func (f *targetFlags) eraserFlags() []cli.Flag {
	return f.eraser.flags("eraser", "that deletes messages for erasures")
}

// validate reports what cannot be meant.
func (f *targetFlags) validate() error {
	if (f.natsCert == "") != (f.natsKey == "") {
		return wrongUse("--nats-cert and --nats-key go together")
	}
	if err := f.nats.validate("--nats"); err != nil {
		return err
	}
	if err := f.access.validate("--access"); err != nil {
		return err
	}
	if err := f.eraser.validate("--eraser"); err != nil {
		return err
	}
	return f.validateURL()
}

// natsUser is who connects to NATS: nobody in particular, by a file of credentials, or by name and password.
type natsUser struct{ creds, name, passwordFile string }

// flags name the user, which the usages describe. Their own names begin with prefix.
func (u *natsUser) flags(prefix, which string) []cli.Flag {
	file := func(name, holds string, to *string) cli.Flag {
		return &cli.StringFlag{
			Name: prefix + name, Sources: env(prefix + name), Destination: to, TakesFile: true,
			Usage: "`FILE` with the " + holds + " of the NATS user " + which,
		}
	}
	return []cli.Flag{
		file("-creds", "JWT and key", &u.creds),
		&cli.StringFlag{
			Name: prefix + "-user", Sources: env(prefix + "-user"), Destination: &u.name, Usage: "`NAME` of the NATS user " + which,
		},
		file("-password-file", "password", &u.passwordFile),
	}
}

// validate reports what cannot be meant by the flags that begin as given.
func (u *natsUser) validate(flags string) error {
	switch {
	case (u.name == "") != (u.passwordFile == ""):
		return wrongUse("%[1]s-user and %[1]s-password-file go together", flags)
	case u.creds != "" && u.name != "":
		return wrongUse("%[1]s-creds and %[1]s-user exclude each other", flags)
	}
	return nil
}

// validateURL refuses what would put a secret into logs, process lists and error messages.
func (f *targetFlags) validateURL() error {
	if strings.Contains(f.natsURL, "@") {
		return wrongUse("--nats-url must not hold credentials: use --nats-creds, or --nats-user and --nats-password-file")
	}
	return nil
}

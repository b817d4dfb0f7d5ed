package main

import (
	"context"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v3"
)

// env names the environment variable of a flag. Every flag has one.
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

	natsURL, natsCreds, natsUser, natsPasswordFile, natsCA, natsCert, natsKey string

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
		file("nats-creds", "`FILE` with the NATS user's JWT and key", &f.natsCreds),
		&cli.StringFlag{
			Name: "nats-user", Sources: env("nats-user"), Destination: &f.natsUser, Usage: "`NAME` of the NATS user",
		},
		file("nats-password-file", "`FILE` with that user's password", &f.natsPasswordFile),
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

// validate reports what cannot be meant.
func (f *targetFlags) validate() error {
	for _, pair := range [...]struct{ a, aFlag, b, bFlag string }{
		{f.natsUser, "--nats-user", f.natsPasswordFile, "--nats-password-file"},
		{f.natsCert, "--nats-cert", f.natsKey, "--nats-key"},
	} {
		if (pair.a == "") != (pair.b == "") {
			return wrongUse("%s and %s go together", pair.aFlag, pair.bFlag)
		}
	}
	if f.natsCreds != "" && f.natsUser != "" {
		return wrongUse("--nats-creds and --nats-user exclude each other")
	}
	return f.validateURL()
}

// validateURL refuses what would put a secret into logs, process lists and error messages.
func (f *targetFlags) validateURL() error {
	if strings.Contains(f.natsURL, "@") {
		return wrongUse("--nats-url must not hold credentials: use --nats-creds, or --nats-user and --nats-password-file")
	}
	return nil
}

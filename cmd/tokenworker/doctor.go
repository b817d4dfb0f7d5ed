package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// level is how bad a finding is.
type level string

const (
	ok   level = "ok"
	warn level = "warn" // it works, and somebody should look
	bad  level = "bad"  // it does not work, or something is lost when a machine is
)

// finding is one line of the doctor's.
type finding struct {
	Level level  `json:"level"`
	What  string `json:"what"`
	Why   string `json:"why,omitempty"` // it matters; empty when it is ok
}

// examination looks at one part of the surroundings, changes nothing, and says all it can.
type examination func(ctx context.Context, t *target) []finding

func (a *app) doctorCommand() *cli.Command {
	var flags struct {
		target targetFlags
		json   bool
	}
	return &cli.Command{
		Name: "doctor", Usage: "say what is wrong with the surroundings, and why it matters", Category: "Operation",
		Description: "It changes nothing. Run it as the worker runs: the same NATS user, the same AWS role. What these may not " +
			"see, it says. It fails when anything is bad.",
		Flags: slices.Concat([]cli.Flag{jsonFlag(&flags.json)}, flags.target.flags(), flags.target.accessFlags(), flags.target.eraserFlags()),
		Action: a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
			out := newListing(a.stdout, flags.json, "LEVEL", "WHAT", "WHY IT MATTERS")
			n := 0
			for _, examine := range examinations(t) {
				for _, f := range examine(ctx, t) {
					if f.Level == bad {
						n++
					}
					out.row(f, string(f.Level), f.What, f.Why)
				}
			}
			err := out.close()
			if n > 0 {
				err = errors.Join(err, errors.New(count(n, "thing is bad", "things are bad")))
			}
			return err
		}),
	}
}

// examinations are those that make sense for a target, each after those it builds on.
func examinations(t *target) []examination {
	var majority majorityFound
	if d, isDeployment := t.backend.(*deployment); isDeployment {
		return []examination{
			examineConnection, majority.examine, d.examineTransport, examineDurability,
			majority.then(examineStreams), majority.then(examineBacklog), d.examineRights, d.examineAccounts, d.examineAccess,
			d.examineEraser, d.examineTable, majority.then(examineEpoch), d.examineKeys, examineKeyService, examineEventKeys, d.examineClocks,
		}
	}
	return []examination{
		examineFiles, examineConnection, examineStreams, examineBacklog, examineEpoch, examineKeyService, examineEventKeys,
	}
}

// examineConnection connects to NATS.
func examineConnection(ctx context.Context, t *target) []finding {
	js, err := t.jetStream(ctx)
	if err != nil {
		return []finding{{bad, "NATS: " + err.Error(), "no event can be received or published"}}
	}
	nc := js.Conn()
	return []finding{{Level: ok, What: fmt.Sprintf("NATS: connected to %s, version %s", nc.ConnectedServerName(),
		nc.ConnectedServerVersion())}}
}

// examineKeyService makes a data key and opens it again, under its own encryption context and under another.
func examineKeyService(ctx context.Context, t *target) []finding {
	service, err := t.keyService(ctx)
	if err != nil {
		return []finding{{bad, "key service: " + err.Error(), "no token can be sealed or opened"}}
	}
	own := map[string]string{"app": "tokenworker", "org": tokenworker.DefaultOrg}
	made, err := service.GenerateDataKey(ctx, own)
	if err != nil {
		return []finding{{bad, "key service: " + err.Error(), "no new token can be sealed"}}
	}
	defer made.Plain.Wipe()
	opened, err := service.Decrypt(ctx, made.KeyID, made.Wrapped, own)
	if err != nil {
		return []finding{{bad, "key service: " + err.Error(), "no stored token can be opened"}}
	}
	defer opened.Wipe()
	if !opened.Equal(made.Plain) {
		return []finding{{bad, "key service: a data key came back as another", "no stored token can be opened"}}
	}
	foreign := map[string]string{"app": "tokenworker", "org": "another"}
	if key, err := service.Decrypt(ctx, made.KeyID, made.Wrapped, foreign); err == nil {
		key.Wipe()
		return []finding{{bad, "key service: a data key opened under another organization's context",
			"organizations are not kept apart"}}
	}
	return []finding{{Level: ok, What: "key service: data keys come back, under their own context only"}}
}

// examineEventKeys looks at the keys that publishers seal to.
func examineEventKeys(ctx context.Context, t *target) []finding {
	keys, err := t.keyring(ctx)
	if err != nil {
		return nil // said before
	}
	live, err := keys.Public(ctx)
	if err != nil {
		return []finding{{bad, "event keys: " + err.Error(), "sealed events cannot be opened"}}
	}
	return judgeEventKeys(live, time.Now())
}

// judgeEventKeys looks at how many keys are live, the current one first, and at how old they are.
func judgeEventKeys(live []events.PublicKey, now time.Time) (found []finding) {
	if len(live) == 0 {
		return []finding{{bad, "event keys: there is none", "publishers have nothing to seal to; run `tokenworker keys make`"}}
	}
	if len(live) > 2 {
		found = append(found, finding{warn, fmt.Sprintf("event keys: %d are live", len(live)),
			"each is one more that opens events; retire all but the newest two"})
	}
	for i, k := range live {
		age := now.Sub(k.CreatedAt)
		f := finding{What: fmt.Sprintf("event keys: %s is %s old", k.KeyID, days(age))}
		switch {
		case age > events.KeyLifetime:
			f.Level, f.Why = bad, "receipts of erasures said that it would be destroyed at the age of "+days(events.KeyLifetime)+
				", and what was overwritten may still open with it"
		case i == 0 && age > events.KeyRotateAfter, age > events.KeyLifetime-retireBefore:
			f.Level, f.Why = warn, "it is to be destroyed at the age of "+days(events.KeyLifetime)
		case i > 0 && now.Sub(live[i-1].CreatedAt) > retireAfter:
			f.Level, f.Why = warn, "it still opens events, and has had a successor for "+days(now.Sub(live[i-1].CreatedAt))
		default:
			continue
		}
		switch {
		case i > 0:
			f.Why += "; run `tokenworker keys retire " + k.KeyID + "`"
		case len(live) > 1:
			f.Why += "; run `tokenworker keys retire " + live[1].KeyID + "`, and then `tokenworker keys rotate`"
		default:
			f.Why += "; run `tokenworker keys rotate`, and retire it when publishers have the next"
		}
		found = append(found, f)
	}
	if len(found) == 0 {
		found = []finding{{
			Level: ok, What: fmt.Sprintf("event keys: the current one is %s, %s old", live[0].KeyID, days(now.Sub(live[0].CreatedAt))),
		}}
	}
	return found
}

const (
	// retireAfter is how long an event key with a successor may stay: a fortnight for publishers to take up the next, and one until
	// dead letters sealed to it are gone.
	retireAfter = 28 * 24 * time.Hour

	// retireBefore is how long before its end an event key is warned of that has not been followed in time.
	retireBefore = 7 * 24 * time.Hour
)

func days(d time.Duration) string { return count(int(d/(24*time.Hour)), "day", "days") }

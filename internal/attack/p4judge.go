package main

import (
	"context"
	"slices"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
)

// judgement counts what the ledger says.
type judgement struct {
	lastResorts, reuses                int
	toKill, toPause, toAnswer, toHaste int // connections that were lost, by what cost them
	toLate                             int // lost to a request that arrived beyond the margin
	toSaved                            int // lost to an answer that had gone out whole and was saved beyond the margin
	beyond                             int // posts that only a pause beyond the margin explains
}

// judge compares the ledger with what is declared: a token is posted again as a last resort only, which comes when its
// access token has expired and a margin has passed, and a connection is lost to a last resort only.
func (f *fleet) judge(ctx context.Context, beyond bool) error {
	var j judgement
	records, err := f.records(ctx, f.n)
	if err != nil {
		return err
	}
	byKey := map[string]tokenworker.Record{}
	for _, r := range records {
		byKey[r.Key.String()] = r
	}
	least, rotated := 1<<30, 0
	for family := range f.server.Families() {
		r := byKey[family.Subject]
		f.judgeAttempts(&j, family, beyond)
		if r.Status != tokenworker.Active {
			f.judgeLost(&j, family, r, beyond)
			continue
		}
		least, rotated = min(least, family.RefreshMinted-1), rotated+family.RefreshMinted-1
	}
	held, err := f.judgeHeld(ctx, f.env, records)
	if err != nil {
		return err
	}
	t := f.server.Totals()
	if t.Reuses != j.reuses {
		f.broke("the ledger counts %d reuses, and the attempts that it keeps %d", t.Reuses, j.reuses)
	}
	f.did("%d connections in %d processes, %d refreshes (%.1f each, %d the least)", f.n, len(f.children), rotated,
		float64(rotated)/float64(max(held, 1)), least)
	f.did("%d kills, %d pauses, %d store outages, %d spent tokens published again", f.kills, len(f.resumed), f.out, f.again)
	f.did("%d answers lost, faults %v", t.Lost, t.Faults)
	f.did("%d last resorts, %d of them of a spent token: %d connections lost to a lost answer, %d to a kill", j.lastResorts, j.reuses,
		j.toAnswer, j.toKill)
	if beyond {
		f.did("the declared bound: %d posts by a process or a request that was paused beyond the margin cost %d connections, answers "+
			"that were saved beyond it %d, pauses %d, clients that did not wait %d", j.beyond, j.toLate, j.toSaved, j.toPause, j.toHaste)
		if j.beyond == 0 {
			f.broke("nothing was paused beyond the margin: the bound was not shown")
		}
	}
	return nil
}

// judgeAttempts looks at every POST of one family.
func (f *fleet) judgeAttempts(j *judgement, family demoprovider.Family, beyond bool) {
	last := map[int]demoprovider.Attempt{} // by token
	for i, a := range family.Attempts {
		before, again := last[a.Token]
		last[a.Token] = a
		if a.Reuse {
			j.reuses++
		}
		if overtaken(family.Attempts, i) {
			if j.beyond++; !beyond {
				f.broke("%s: token %d was spent while an earlier post of it was on its way", family.Subject, a.Token)
			}
			continue
		}
		if !again || !a.Doubtful && !a.Reuse {
			continue
		}
		// Times in a record have a resolution of one second.
		earliest := before.At.Add(fleetMargin - time.Second)
		i := slices.IndexFunc(family.Refresh, func(t demoprovider.RefreshToken) bool { return t.Number == a.Token })
		if i >= 0 && family.Refresh[i].Minted.Add(f.lifetime-time.Second).After(earliest) {
			earliest = family.Refresh[i].Minted.Add(f.lifetime - time.Second)
		}
		switch {
		case !a.At.Before(earliest):
			j.lastResorts++
		case beyond && f.pausedAt(a.At):
			j.beyond++
		default:
			f.broke("%s: token %d was posted again %s after an attempt that ended unknown, %s before a last resort may",
				family.Subject, a.Token, a.At.Sub(before.At), earliest.Sub(a.At))
		}
	}
}

// overtaken reports whether a post came to the provider when its token was good, and was processed when another had spent it.
func overtaken(attempts []demoprovider.Attempt, i int) bool {
	return attempts[i].Reuse && !slices.ContainsFunc(attempts[:i], func(a demoprovider.Attempt) bool {
		return a.Token == attempts[i].Token && a.Granted
	})
}

// heldBack reports whether a post reused a token whose answer had gone out whole: somebody had it, and saved it beyond the margin.
func heldBack(attempts []demoprovider.Attempt, i int) bool {
	return attempts[i].Reuse && slices.ContainsFunc(attempts[:i], func(a demoprovider.Attempt) bool {
		return a.Token == attempts[i].Token && a.Granted && !a.Lost
	})
}

func (f *fleet) pausedAt(at time.Time) bool {
	return slices.ContainsFunc(f.resumed, func(t time.Time) bool { return at.After(t) && at.Before(t.Add(fleetClaim)) })
}

// judgeLost asks what cost a connection.
func (f *fleet) judgeLost(j *judgement, family demoprovider.Family, r tokenworker.Record, beyond bool) {
	var killed, paused bool
	for fence, what := range f.excused[r.Key] {
		killed = killed || fence == r.Fence && what == byKill
		paused = paused || (fence == r.Fence || beyond) && what == byPause // beyond the margin it may cost the next set as well
	}
	final := len(family.Refresh) - 2 // the token that the last answer replaced: the one that the store still holds
	var lost, gone bool              // to a fault, and because the client had gone away
	for _, a := range family.Attempts {
		if a.Lost && final >= 0 && a.Token == family.Refresh[final].Number {
			byFault := a.Fault != "" && a.Fault != demoprovider.Slow
			lost, gone = lost || byFault, gone || !byFault
		}
	}
	var late, saved bool
	for i := range family.Attempts {
		late, saved = late || overtaken(family.Attempts, i), saved || heldBack(family.Attempts, i)
	}
	switch {
	case r.Status != tokenworker.ReauthRequired:
		f.broke("%s: is %s", r.Key, r.Status)
	case late && beyond:
		j.toLate++
	case saved && beyond:
		j.toSaved++
	case lost:
		j.toAnswer++
	case killed:
		j.toKill++
	case paused && beyond:
		j.toPause++
	case gone && beyond:
		j.toHaste++
	default:
		f.broke("%s: lost (%s, family %s), and no kill or lost answer explains it (its process was paused: %t, its client hung up: %t): %+v",
			r.Key, r.FailureCode, family.Fate, paused, gone, family.Attempts[max(0, len(family.Attempts)-3):])
	}
}

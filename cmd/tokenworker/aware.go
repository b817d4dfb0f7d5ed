package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/tokenworker/tokenworker/access"
)

// askFor is how long the workers have to answer: one that is busy must not count as none.
const askFor = 3 * time.Second

// What a worker says of itself to whoever asks.
const (
	processInfo = "process"
	keysInfo    = "kms-keys" // digests of the ids of the keys that it unwraps with, with spaces between
)

func whatItKnows(s keyService) map[string]string {
	var keys []string
	for _, id := range s.KeyIDs() {
		keys = append(keys, keyDigest(id))
	}
	return map[string]string{processInfo: processName(), keysInfo: strings.Join(keys, " ")}
}

// keyDigest stands for a key's id, which names an AWS account.
func keyDigest(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// askWorkers returns an error unless every worker knows all of the keys: from what is wrapped under a key that it does not know,
// a worker can serve and refresh nothing. Workers that answer no reads cannot be asked; when there are no others, it is an error.
func askWorkers(ctx context.Context, t *target, s keyService) error {
	answers, err := askAll(ctx, t, access.InfoSubject)
	if err != nil {
		return fmt.Errorf("asking the workers which keys they know: %w", err)
	}
	for _, answer := range answers {
		var worker micro.Info
		if err := json.Unmarshal(answer.Data, &worker); err != nil {
			return fmt.Errorf("asking the workers which keys they know: %w", err)
		}
		knows := strings.Fields(worker.Metadata[keysInfo])
		for _, id := range s.KeyIDs() {
			if !slices.Contains(knows, keyDigest(id)) {
				return fmt.Errorf("the worker %s does not know the key %s, and could open nothing that it wraps: start all workers "+
					"with the keys that this command is given", worker.Metadata[processInfo], id)
			}
		}
	}
	if len(answers) > 0 {
		return nil
	}
	p := parts{js: t.js}
	if err := watchFor(t, p).quiet(ctx, 0); errors.Is(err, errWorker) {
		return errors.New("a worker is running that answers no reads and so cannot say which keys it knows: see to it that all " +
			"workers were started with the keys that this command is given, and repeat it with --unasked")
	} else if err != nil {
		return err
	}
	return nil
}

// askAll asks everybody who listens on a subject, and returns what is answered within askFor.
func askAll(ctx context.Context, t *target, subject string) ([]*nats.Msg, error) {
	js, err := t.jetStream(ctx)
	if err != nil {
		return nil, err
	}
	nc := js.Conn()
	inbox := nc.NewRespInbox()
	heard, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = heard.Unsubscribe() }()
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var answers []*nats.Msg
	for {
		m, err := heard.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded):
			return answers, nil
		case err != nil:
			return nil, err
		}
		answers = append(answers, m)
	}
}

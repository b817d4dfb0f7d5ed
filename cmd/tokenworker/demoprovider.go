package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/provider"
)

const (
	demoProviderID = "demo" // of the embedded mode's own provider, and of its client there

	// demoLifetime is short enough to watch refreshes.
	demoLifetime = 5 * time.Minute

	// demoGrants is the NATS subject on which the embedded mode makes grants of its provider.
	demoGrants = "demo.grants"
)

// startDemoProvider starts a provider on loopback that rotates strictly, and returns what the catalogue must know of it.
// It forgets its grants when it stops. The client's credentials lie in files, as any client's may.
func startDemoProvider(ctx context.Context, dir string) (*demoprovider.Server, provider.Source, error) {
	secret := rand.Text()
	s, err := demoprovider.New(demoprovider.Config{Clients: []demoprovider.Client{{
		ID: demoProviderID, Secret: secret, Policy: demoprovider.Policy{AccessLifetime: demoLifetime},
	}}})
	if err != nil {
		return nil, provider.Source{}, fmt.Errorf("making the demo provider: %w", err)
	}
	if err := s.Start(ctx, "127.0.0.1:0"); err != nil {
		return nil, provider.Source{}, fmt.Errorf("starting the demo provider: %w", err)
	}
	idFile, secretFile := filepath.Join(dir, "demo-client-id"), filepath.Join(dir, "demo-client-secret")
	source := provider.Source{Name: demoCatalogue(dir), YAML: fmt.Appendf(nil, `providers:
  %[1]s:
    name: Demo provider
    issuer: %[2]s
    allow_networks: [127.0.0.0/8]
    rotation: strict
    revocation_scope: family
    client:
      id: %[3]q
      secret: %[4]q
`, demoProviderID, s.URL(), "file:"+idFile, "file:"+secretFile)}
	for name, content := range map[string][]byte{
		idFile: []byte(demoProviderID), secretFile: []byte(secret), source.Name: source.YAML,
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return nil, provider.Source{}, errors.Join(fmt.Errorf("writing about the demo provider: %w", err), s.Close())
		}
	}
	return s, source, nil
}

// demoCatalogue is the file by which other commands on a data directory know the provider that runs there.
func demoCatalogue(dir string) string { return filepath.Join(dir, "demo-providers.yaml") }

// demoGrant makes a user of the demo provider log in, and returns the token set that the client is given.
func demoGrant(s *demoprovider.Server, key tokenworker.Key, at time.Time) (tokenworker.TokenSet, error) {
	tokens, err := s.Grant(demoProviderID, key.String(), "")
	if err != nil {
		return tokenworker.TokenSet{}, fmt.Errorf("granting: %w", err)
	}
	return tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(tokens.AccessToken), RefreshToken: tokenworker.SecretString(tokens.RefreshToken),
		ExpiresAt: at.Add(time.Duration(tokens.ExpiresIn) * time.Second).UTC().Truncate(time.Second),
	}, nil
}

// grantRequest asks for an acquired event of a new grant.
type grantRequest struct {
	Key, Source, ID string
	Time            time.Time
}

// grantReply is that event, sealed: the tokens never leave the process in clear.
type grantReply struct {
	Event events.Message
	Error string
}

// serveGrants answers requests for grants until the connection closes.
func (d *dev) serveGrants(ctx context.Context) error {
	_, err := d.js.Conn().Subscribe(demoGrants, func(msg *nats.Msg) {
		var reply grantReply
		var err error
		if reply.Event, err = d.grant(ctx, msg.Data); err != nil {
			reply = grantReply{Error: err.Error()}
		}
		body, err := json.Marshal(reply)
		if err == nil {
			_ = msg.Respond(body) // whoever asked is told, or asks again
		}
	})
	if err != nil {
		return fmt.Errorf("listening for demo grants: %w", err)
	}
	return nil
}

// grant makes a grant and the event that a service would publish of it.
func (d *dev) grant(ctx context.Context, body []byte) (events.Message, error) {
	var request grantRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return events.Message{}, fmt.Errorf("reading the request: %w", err)
	}
	key, err := tokenworker.ParseKey(request.Key)
	if err != nil {
		return events.Message{}, err
	}
	set, err := demoGrant(d.provider, key, request.Time)
	if err != nil {
		return events.Message{}, err
	}
	e, err := events.NewAcquired(key, request.Source, set, request.Time)
	if err != nil {
		return events.Message{}, fmt.Errorf("making the event: %w", err)
	}
	if request.ID != "" {
		e.ID = request.ID
	}
	public, err := currentKey(context.WithoutCancel(ctx), d.keys)
	if err != nil {
		return events.Message{}, err
	}
	if err := e.Seal(public); err != nil {
		return events.Message{}, fmt.Errorf("making the event: %w", err)
	}
	return e.Message()
}

// grantTimeout bounds the wait for the embedded mode's answer.
const grantTimeout = 10 * time.Second

// granted asks the embedded mode for the event of a new grant of its provider.
func (p *publishing) granted(ctx context.Context, js jetstream.JetStream, key tokenworker.Key, at time.Time) (events.Message, error) {
	if key.ProviderID != demoProviderID || p.plain || p.publicKey != "" || p.expiresIn != 0 {
		return events.Message{}, wrongUse("--demo-grant is for connections of provider %s, and makes the whole event", demoProviderID)
	}
	body, err := json.Marshal(grantRequest{Key: key.String(), Source: p.source, ID: p.id, Time: at})
	if err != nil {
		return events.Message{}, fmt.Errorf("asking for a grant: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, grantTimeout)
	defer cancel()
	msg, err := js.Conn().RequestWithContext(ctx, demoGrants, body)
	if errors.Is(err, nats.ErrNoResponders) {
		return events.Message{}, errors.New("asking for a grant: only `tokenworker dev` makes any")
	} else if err != nil {
		return events.Message{}, fmt.Errorf("asking for a grant: %w", err)
	}
	var reply grantReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return events.Message{}, fmt.Errorf("reading the grant: %w", err)
	}
	if reply.Error != "" {
		return events.Message{}, fmt.Errorf("asking for a grant: %s", reply.Error)
	}
	return reply.Event, nil
}

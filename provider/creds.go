package provider

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokenworker/tokenworker"
)

// noSecret is the reference that says that there is none, for providers whose client id is the secret.
const noSecret = "none"

// How old what was read of a client's credentials may be. A file costs nothing, a secrets manager money. After the provider
// has refused the client, both are asked as soon as credsPause is over: somebody may have changed the secret.
const (
	fileAge    = 10 * time.Second
	managerAge = 10 * time.Minute
	credsPause = 10 * time.Second

	// credsPatience bounds one look at a secrets manager: what is at hand serves on without it.
	credsPatience = 5 * time.Second
)

// creds is a client's credentials, resolved.
type creds struct {
	clientID   tokenworker.Secret // a secret as well: for some providers it is one
	secret     tokenworker.Secret
	sign       *signer
	thumbprint string // of the certificate of the key
}

// liveCreds is a client's credentials, which are read again from time to time: they may be changed while the worker runs. A
// look that fails changes nothing. All fields of one request are of one look.
type liveCreds struct {
	manager SecretsManager
	config  clientConfig
	turn    chan struct{} // one looks; the others use what is at hand
	state   atomic.Pointer[credsState]
	refused atomic.Bool // the provider has refused the client since the last look
}

// credsState is what the looks so far have found.
type credsState struct {
	creds
	read map[string]lookedUp // by field
}

type lookedUp struct {
	value tokenworker.Secret
	at    time.Time // of the last look; zero: when loaded, which nobody timed
}

// references lists the client's references by field.
func (c clientConfig) references() map[string]string {
	all := map[string]string{}
	for field, reference := range map[string]string{
		"client.id": c.id, "client.secret": c.secret, "client.private_key": c.privateKey, "client.certificate": c.certificate,
	} {
		if reference != "" && (reference != noSecret || field != "client.secret") {
			all[field] = reference
		}
	}
	return all
}

// newLiveCreds reads the credentials for the first time, and returns the mistakes by field.
func newLiveCreds(ctx context.Context, manager SecretsManager, config clientConfig) (*liveCreds, map[string]error) {
	l := &liveCreds{manager: manager, config: config, turn: make(chan struct{}, 1)}
	mistakes, read := map[string]error{}, map[string]lookedUp{}
	for field, reference := range config.references() {
		value, err := resolveSecret(ctx, manager, reference)
		if err != nil {
			mistakes[field] = err
		}
		read[field] = lookedUp{value: value}
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	found, field, err := config.derive(read)
	if err != nil {
		return nil, map[string]error{field: err}
	}
	l.state.Store(&credsState{found, read})
	return l, nil
}

// derive makes credentials of what was read; an error comes with its field.
func (c clientConfig) derive(read map[string]lookedUp) (found creds, field string, err error) {
	found.clientID, found.secret = read["client.id"].value, read["client.secret"].value
	if key := read["client.private_key"].value; !key.IsEmpty() {
		if found.sign, err = newSigner(key, c.algorithm); err != nil {
			return creds{}, "client.private_key", err
		}
	}
	if certificate := read["client.certificate"].value; !certificate.IsEmpty() {
		if found.thumbprint, err = thumbprint(certificate); err != nil {
			return creds{}, "client.certificate", err
		}
	}
	return found, "", nil
}

// creds are the credentials as they are known.
func (p *Provider) creds() creds {
	if p.live == nil {
		return creds{}
	}
	return p.live.state.Load().creds
}

// noteRefusal has the credentials read again after the provider has refused the client.
func (p *Provider) noteRefusal(a Answer) Answer {
	if a.Code == CodeInvalidClient || a.Code == CodeUnauthorized {
		p.live.refused.Store(true)
	}
	return a
}

// isOld reports whether a reference is to be looked at again. The environment of a process does not change.
func isOld(reference string, age time.Duration, refused bool) bool {
	switch scheme, _, _ := strings.Cut(reference, ":"); {
	case scheme == "env":
		return false
	case refused && age >= credsPause:
		return true
	case scheme == "file":
		return age >= fileAge
	default:
		return age >= managerAge
	}
}

// renewCreds reads the client's credentials again if it is time to, and nobody else is at it.
func (c *Client) renewCreds(ctx context.Context, p *Provider) {
	l := p.live
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	default:
		return
	}
	before, now, refused := l.state.Load(), c.cfg.Now(), l.refused.Load()
	next, looked, changed := credsState{before.creds, map[string]lookedUp{}}, false, false
	ctx, cancel := context.WithTimeout(ctx, credsPatience)
	defer cancel()
	for field, reference := range l.config.references() {
		was := before.read[field]
		if was.at.IsZero() {
			was.at, looked = now, true // read when loaded, which is not long ago
		}
		next.read[field] = was
		if !isOld(reference, now.Sub(was.at), refused) {
			continue
		}
		looked = true
		value, err := resolveSecret(ctx, l.manager, reference)
		if err != nil {
			value = was.value
		}
		changed = changed || !value.Equal(was.value)
		next.read[field] = lookedUp{value, now}
	}
	if !looked {
		return
	}
	l.refused.CompareAndSwap(refused, false)
	if changed {
		if found, _, err := l.config.derive(next.read); err == nil {
			next.creds = found
		}
	}
	l.state.Store(&next)
}

package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"time"

	"github.com/tokenworker/tokenworker"
)

// signer signs with the client's private key. The key is inside a closure, where no print of a provider can reach it.
type signer struct {
	algorithm string // RFC 7518 section 3.1
	sign      func(digest []byte) ([]byte, error)
}

// assertionLifetime bounds how long a stolen assertion is good for, and leaves room for clocks that disagree.
const assertionLifetime = 5 * time.Minute

var errPrivateKey = errors.New("not a PEM private key: RSA of at least 2048 bits, or ECDSA on P-256")

// newSigner reads a private key in PEM: PKCS #8, PKCS #1 or SEC 1. The algorithm may be left to the key. Its errors repeat
// nothing of it.
func newSigner(key tokenworker.Secret, algorithm string) (*signer, error) {
	block, _ := pem.Decode(key.Reveal())
	if block == nil {
		return nil, errPrivateKey
	}
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		err = errPrivateKey
	}
	if err != nil {
		return nil, errPrivateKey
	}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		switch {
		case key.N.BitLen() < 2048, algorithm == "ES256":
			return nil, errPrivateKey
		case algorithm == "PS256":
			return &signer{algorithm, func(digest []byte) ([]byte, error) {
				return rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
			}}, nil
		}
		return &signer{"RS256", func(digest []byte) ([]byte, error) {
			return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest)
		}}, nil
	case *ecdsa.PrivateKey:
		if key.Curve != elliptic.P256() || algorithm != "" && algorithm != "ES256" {
			return nil, errPrivateKey
		}
		return &signer{"ES256", func(digest []byte) ([]byte, error) {
			r, s, err := ecdsa.Sign(rand.Reader, key, digest)
			if err != nil {
				return nil, err
			}
			// RFC 7518 section 3.4: both numbers, 32 bytes each.
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
		}}, nil
	}
	return nil, errPrivateKey
}

var errCertificate = errors.New("not a PEM certificate")

// thumbprint is the x5t#S256 of a certificate in PEM (RFC 7515 section 4.1.8), by which Microsoft finds the key.
func thumbprint(certificate tokenworker.Secret) (string, error) {
	block, _ := pem.Decode(certificate.Reveal())
	if block == nil || block.Type != "CERTIFICATE" {
		return "", errCertificate
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return "", errCertificate
	}
	sum := sha256.Sum256(block.Bytes)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// assertion is a JWT that authenticates the client once (RFC 7523 sections 2.2 and 3).
func (p *Provider) assertion(creds creds, audience string, now time.Time) (string, error) {
	id := string(creds.clientID.Reveal())
	header := map[string]any{"alg": creds.sign.algorithm, "typ": "JWT"}
	if creds.thumbprint != "" {
		header["x5t#S256"] = creds.thumbprint
	}
	if p.client.keyID != "" {
		header["kid"] = p.client.keyID
	}
	claims := map[string]any{
		"iss": id, "sub": id, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionLifetime).Unix(),
	}
	var input []byte
	for i, part := range []map[string]any{header, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		if i > 0 {
			input = append(input, '.')
		}
		input = base64.RawURLEncoding.AppendEncode(input, text)
	}
	digest := sha256.Sum256(input)
	signature, err := creds.sign.sign(digest[:])
	if err != nil {
		return "", err
	}
	return string(base64.RawURLEncoding.AppendEncode(append(input, '.'), signature)), nil
}

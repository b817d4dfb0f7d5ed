package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClientCredentialsComeFromSecretsManager(t *testing.T) {
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		switch {
		case r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue", strings.Contains(string(body), "missing-canary"):
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"ResourceNotFoundException","Message":"missing-canary is not there"}`))
		case strings.Contains(string(body), "gusto/secret"):
			_, _ = w.Write([]byte(`{"SecretBinary":"c2VjcmV0LWNhbmFyeQ=="}`))
		default:
			_, _ = w.Write([]byte(`{"SecretString":"id-canary"}`))
		}
	}))
	defer aws.Close()
	for name, test := range map[string]struct {
		secret string
		code   int
		want   string
	}{
		"text and binary":            {"secretsmanager:gusto/secret", 0, `"enabled":true`},
		"a secret that is not there": {"secretsmanager:missing-canary", 1, "ResourceNotFoundException"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "providers.yaml")
			yaml := "providers:\n  gusto:\n    client:\n      id: secretsmanager:gusto/id\n      secret: " + test.secret + "\n"
			if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			p := newProgram(t, "AWS_ENDPOINT_URL="+aws.URL, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=test",
				"AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true")
			o := p.run("", "providers", "gusto", "--providers", file, "--json")
			if o.code != test.code || !strings.Contains(o.stdout+o.stderr, test.want) || strings.Contains(o.stdout+o.stderr, "canary") {
				t.Errorf("exit code %d, want %d, %q and no secret: %s%s", o.code, test.code, test.want, o.stdout, o.stderr)
			}
		})
	}
}

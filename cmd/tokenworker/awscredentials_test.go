package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCredentialsInASharedFileMayChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_REGION", "us-east-1")
	c, err := awsConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"FIRST", "SECOND"} {
		text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = x\n", id)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := freshCredentials{}.Retrieve(t.Context())
		if err != nil || found.AccessKeyID != id || !found.CanExpire || found.Expires.After(time.Now().Add(credentialsFileAge)) {
			t.Errorf("found %s that can expire: %t, %v; want %s", found.AccessKeyID, found.CanExpire, err, id)
		}
	}
	if found, err := c.Credentials.Retrieve(t.Context()); err != nil || !found.CanExpire {
		t.Errorf("the configuration's credentials can expire: %t, %v", found.CanExpire, err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "THIRD")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	if found, err := (freshCredentials{}).Retrieve(t.Context()); err != nil || found.AccessKeyID != "THIRD" || found.CanExpire {
		t.Errorf("found %s that can expire: %t, %v: the environment does not change", found.AccessKeyID, found.CanExpire, err)
	}
}

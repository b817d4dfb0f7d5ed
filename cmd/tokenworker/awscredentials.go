package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// credentialsFileAge is how long credentials from the shared files are used before the files are read again.
const credentialsFileAge = time.Minute

// sharedFileSource begins the source of credentials that stand in a shared file. The SDK reads those once.
const sharedFileSource = "SharedConfigCredentials"

// freshCredentials finds AWS's credentials anew each time that it is asked, as a process that starts then would. The SDK's cache
// asks when those that it has expire, and credentials from a shared file expire for it: they may be rotated there while the
// worker runs.
type freshCredentials struct{}

// Retrieve implements [aws.CredentialsProvider].
func (freshCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	found, err := c.Credentials.Retrieve(ctx)
	if err == nil && !found.CanExpire && strings.HasPrefix(found.Source, sharedFileSource) {
		found.CanExpire, found.Expires = true, time.Now().Add(credentialsFileAge)
	}
	return found, err //nolint:wrapcheck // the SDK's own, for the SDK
}

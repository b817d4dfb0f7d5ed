package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"github.com/tokenworker/tokenworker"
)

// examineTable compares the table and its indexes with what setup leaves behind.
func (d *deployment) examineTable(ctx context.Context, _ *target) []finding {
	differences, err := d.checkTable(ctx)
	if errors.Is(err, tokenworker.ErrMisconfigured) {
		return []finding{{warn, "table: cannot be seen: " + err.Error(), "a missing index or backup shows only when it is needed"}}
	}
	if err != nil {
		return []finding{{bad, "table: " + err.Error(), "nothing can be stored or read"}}
	}
	if len(differences) == 0 {
		return []finding{{Level: ok, What: "table " + d.table().TableName + ": as `tokenworker setup` leaves it"}}
	}
	return asFindings(differences)
}

// examineKeys looks at the KMS keys, their rotation and who may use them.
func (d *deployment) examineKeys(ctx context.Context, _ *target) []finding {
	differences, err := d.checkKeys(ctx)
	if err != nil {
		return []finding{{bad, "KMS keys: " + err.Error(), "no token can be sealed or opened"}}
	}
	fs := asFindings(differences)
	client, err := d.kms(ctx)
	if err != nil || len(fs) > 0 {
		return fs
	}
	ids, err := d.allKeyIDs()
	if err != nil {
		return fs // said before
	}
	for _, id := range ids {
		key, err := describeKey(ctx, client, id) // rotation and policy are asked for by id, not by alias
		if err != nil {
			continue
		}
		fs = append(fs, examineRotation(ctx, client, id, key.KeyId), examinePolicy(ctx, client, id, key.KeyId))
	}
	return fs
}

func examineRotation(ctx context.Context, client *kms.Client, id string, keyID *string) finding {
	const why = "the same key material wraps every data key for ever"
	out, err := client.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: keyID})
	switch {
	case err != nil:
		return finding{warn, "KMS key " + id + ": its rotation cannot be seen: " + apiCode(err), why}
	case !out.KeyRotationEnabled:
		return finding{warn, "KMS key " + id + ": automatic rotation is off", why}
	}
	return finding{Level: ok, What: "KMS key " + id + ": enabled, symmetric, rotated automatically"}
}

func examinePolicy(ctx context.Context, client *kms.Client, id string, keyID *string) finding {
	const why = "whoever may use the key and read the table has every token"
	out, err := client.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: keyID, PolicyName: aws.String("default")})
	if err != nil {
		return finding{warn, "KMS key " + id + ": its policy cannot be seen: " + apiCode(err), why}
	}
	open, err := opensToAll(aws.ToString(out.Policy))
	switch {
	case err != nil:
		return finding{warn, "KMS key " + id + ": its policy cannot be read", why}
	case open != "":
		return finding{bad, fmt.Sprintf("KMS key %s: its policy lets everybody use it (statement %q)", id, open), why}
	}
	return finding{Level: ok, What: "KMS key " + id + ": its policy names who may use it"}
}

// opensToAll returns the name of the first statement of a key policy that allows any principal without a condition;
// empty: there is none.
func opensToAll(policy string) (string, error) {
	var p struct {
		Statement []struct {
			Sid       string
			Effect    string
			Principal json.RawMessage
			Condition json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(policy), &p); err != nil {
		return "", errors.New("not a policy")
	}
	for i, s := range p.Statement {
		if s.Effect == "Allow" && len(s.Condition) == 0 && isEverybody(s.Principal) {
			if s.Sid == "" {
				return fmt.Sprintf("number %d", i+1), nil
			}
			return s.Sid, nil
		}
	}
	return "", nil
}

// isEverybody reports whether a policy's principal is "*", or an AWS principal of "*", alone or in a list.
func isEverybody(principal json.RawMessage) bool {
	var byKind struct{ AWS json.RawMessage }
	if json.Unmarshal(principal, &byKind) == nil && byKind.AWS != nil {
		principal = byKind.AWS
	}
	var many []string
	if json.Unmarshal(principal, &many) != nil {
		var one string
		_ = json.Unmarshal(principal, &one) // or else neither: an object of services
		many = []string{one}
	}
	return slices.Contains(many, "*")
}

// apiCode is the word that AWS refused with.
func apiCode(err error) string {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode()
	}
	return err.Error()
}

// awsTime is what AWS's clock shows, to the second.
func (d *deployment) awsTime(ctx context.Context) (time.Time, error) {
	client, err := d.kms(ctx)
	if err != nil {
		return time.Time{}, err
	}
	out, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(d.keyIDs()[0])})
	if err != nil {
		return time.Time{}, fmt.Errorf("asking KMS for the time: %w", err)
	}
	at, has := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !has {
		return time.Time{}, errors.New("asking KMS for the time: the answer has no date")
	}
	return at, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/tokenworker/tokenworker"
)

const aliasPrefix = "alias/"

func (d *deployment) kms(ctx context.Context) (*kms.Client, error) {
	c, err := awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	return kms.NewFromConfig(c), nil
}

// checkKeys compares the KMS keys with what a worker needs.
func (d *deployment) checkKeys(ctx context.Context) ([]tokenworker.Difference, error) {
	client, err := d.kms(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := d.allKeyIDs()
	if err != nil {
		return nil, err
	}
	var ds []tokenworker.Difference
	for _, id := range ids {
		differs := func(what, have, want, why string) {
			ds = append(ds, tokenworker.Difference{What: "KMS key " + id + what, Have: have, Want: want, Why: why})
		}
		key, err := describeKey(ctx, client, id)
		switch {
		case errors.Is(err, tokenworker.ErrNotFound):
			differs("", "missing", "present", "no token can be sealed or opened")
			continue
		case err != nil:
			return nil, err
		}
		if key.KeyState != types.KeyStateEnabled {
			differs(": state", string(key.KeyState), string(types.KeyStateEnabled), "no token can be sealed or opened")
		}
		if key.KeyUsage != types.KeyUsageTypeEncryptDecrypt || key.KeySpec != types.KeySpecSymmetricDefault {
			differs(": kind", fmt.Sprintf("%s %s", key.KeySpec, key.KeyUsage),
				fmt.Sprintf("%s %s", types.KeySpecSymmetricDefault, types.KeyUsageTypeEncryptDecrypt),
				"KMS makes data keys under symmetric keys only")
		}
	}
	return ds, nil
}

// describeKey looks up a key by its ARN, id or alias. The error matches [tokenworker.ErrNotFound] when there is none.
func describeKey(ctx context.Context, client *kms.Client, id string) (*types.KeyMetadata, error) {
	out, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(id)})
	var missing *types.NotFoundException
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("KMS key %s: %w", id, tokenworker.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("describing KMS key %s: %w", id, err)
	}
	return out.KeyMetadata, nil
}

// setUpKeys makes a key for the current alias, if that is an alias and names none. Other keys are their owners' to make.
func (d *deployment) setUpKeys(ctx context.Context) error {
	client, err := d.kms(ctx)
	if err != nil {
		return err
	}
	alias := d.keyIDs()[0]
	if _, err := describeKey(ctx, client, alias); err == nil || !errors.Is(err, tokenworker.ErrNotFound) {
		return err
	}
	if !strings.HasPrefix(alias, aliasPrefix) {
		return fmt.Errorf("%w: there is no KMS key %s, and only an alias can be made", tokenworker.ErrMisconfigured, alias)
	}
	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{
		Description: aws.String("wraps the data keys of tokenworker"),
	})
	if err != nil {
		return fmt.Errorf("creating a KMS key: %w", err)
	}
	id := made.KeyMetadata.KeyId
	if _, err := client.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: id}); err != nil {
		return errors.Join(fmt.Errorf("turning on yearly rotation: %w", err), discardKey(ctx, client, id))
	}
	if _, err := client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: id}); err != nil {
		return errors.Join(fmt.Errorf("naming the KMS key %s: %w", alias, err), discardKey(ctx, client, id))
	}
	return nil
}

// discardKey has a key deleted that was just made and is not named, so that trying again does not pile them up.
func discardKey(ctx context.Context, client *kms.Client, id *string) error {
	if _, err := client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{
		KeyId: id, PendingWindowInDays: aws.Int32(7), // the shortest that KMS allows
	}); err != nil {
		return fmt.Errorf("discarding the new KMS key %s: %w", aws.ToString(id), err)
	}
	return nil
}

// Package kmsenc seals token sets for rest: envelope encryption under data keys from AWS KMS or the embedded mode's key
// file.
package kmsenc

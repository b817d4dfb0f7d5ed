// Package localstack lets tests talk to LocalStack: KMS and DynamoDB on one local port.
//
// `make localstack` starts one for this checkout and `make test` runs every test with one around it. A test that
// needs it calls [Config] and builds its clients from that:
//
//	keys := kms.NewFromConfig(localstack.Config(t))
//
// There is no fake behind this and no way to skip: without a healthy LocalStack the test fails and says what to run.
// One LocalStack serves all tests, those of other packages at the same moment included, so tables are named with
// [UniqueName] and keys are made with [Key].
//
// The package takes a [testing.TB], so only tests and programs that test may import it.
package localstack

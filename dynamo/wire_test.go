package dynamo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

// canned is an HTTP client that keeps what it was asked and gives one answer.
type canned struct {
	status int
	answer string
	asked  []*http.Request
	bodies [][]byte
}

func (c *canned) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err //nolint:wrapcheck // it stands in for the client
	}
	c.asked, c.bodies = append(c.asked, r), append(c.bodies, body)
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(c.status)
	_, _ = w.WriteString(c.answer)
	return w.Result(), nil
}

// tableOver is a table whose requests go to the canned client: over a wire, or by the SDK alone.
func tableOver(t testingT, c *canned, byWire bool) *Table {
	t.Helper()
	client := NewClient(aws.Config{
		Region: "eu-central-1", HTTPClient: c,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "temporary"),
	})
	table := &Table{client: client, name: "table", shards: 16}
	if byWire {
		if table.wire = newWire(t.Context(), client.Options()); table.wire == nil {
			t.Fatalf("no wire")
		}
	}
	return table
}

type testingT interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

func TestAWireAsksWhatTheSDKAsks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRecord(rt)
		at := addressOf(r.Key)
		c := newChange(encode(&r, at.dueShard(16)), tokenworker.AttemptID{1})
		for f := range c.next {
			c.write(f)
		}
		c.condition = `attribute_not_exists(org) OR "quoted" < :conn_status`

		byWire, bySDK := &canned{status: http.StatusOK, answer: "{}"}, &canned{status: http.StatusOK, answer: "{}"}
		for _, table := range []*Table{tableOver(rt, byWire, true), tableOver(rt, bySDK, false)} {
			if done, _, err := table.apply(rt.Context(), at, c); !done || err != nil {
				rt.Fatalf("apply: done %v, error %v", done, err)
			}
		}
		requireSameJSON(rt, byWire.bodies[0], bySDK.bodies[0])
		got, want := byWire.asked[0], bySDK.asked[0]
		if got.URL.String() != want.URL.String() || got.Method != want.Method {
			rt.Errorf("asks %s %s, want %s %s", got.Method, got.URL, want.Method, want.URL)
		}
		for _, name := range []string{"Content-Type", "X-Amz-Target", "X-Amz-Security-Token", "Accept-Encoding"} {
			if !reflect.DeepEqual(got.Header[name], want.Header[name]) {
				rt.Errorf("header %s is %q, want %q", name, got.Header[name], want.Header[name])
			}
		}
		if got, want := credentialScope(got), credentialScope(want); got != want {
			rt.Errorf("signed for %q, want %q", got, want)
		}
	})
}

// drawRecord draws a record with texts of every kind, of which any part may be missing.
func drawRecord(rt *rapid.T) tokenworker.Record {
	full := fullRecord()
	full.Subject = rapid.String().Draw(rt, "subject")
	full.Scope = rapid.SampledFrom([]string{`"`, `\`, "<&>", "\u2028", "tab\t", "ü🔑", "\x7f"}).Draw(rt, "scope")
	full.Sealed = rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(rt, "sealed")
	full.Claim.Owner = rapid.String().Draw(rt, "owner")
	r := tokenworker.Record{Key: full.Key, Status: full.Status}
	from, to := reflect.ValueOf(full), reflect.ValueOf(&r).Elem()
	for i := range from.NumField() {
		if rapid.Bool().Draw(rt, from.Type().Field(i).Name) {
			to.Field(i).Set(from.Field(i))
		}
	}
	return r
}

func requireSameJSON(rt *rapid.T, got, want []byte) {
	rt.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		rt.Fatalf("the wire's request is no JSON: %v\n%s", err, got)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		rt.Fatalf("the SDK's request is no JSON: %v", err)
	}
	if !reflect.DeepEqual(g, w) {
		rt.Fatalf("the wire asks\n\t%s, the SDK\n\t%s", got, want)
	}
}

// credentialScope is whose key a request is signed with, and what for.
func credentialScope(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	credential, _, _ = strings.Cut(credential, ",")
	return credential
}

func TestAWireSignsWhatItSends(t *testing.T) {
	c := &canned{status: http.StatusOK, answer: "{}"}
	table := tableOver(t, c, true)
	if a, _ := table.wire.update(t.Context(), []byte(`{"a":1}`)); a != written {
		t.Fatalf("answer %v, want written", a)
	}
	sent := c.asked[0]
	at, err := time.Parse("20060102T150405Z", sent.Header.Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := http.NewRequestWithContext(t.Context(), http.MethodPost, sent.URL.String(), bytes.NewReader(c.bodies[0]))
	if err != nil {
		t.Fatal(err)
	}
	again.Header = sent.Header.Clone()
	again.Header.Del("Authorization")
	const hash = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862" // printf '{"a":1}' | sha256sum
	key := aws.Credentials{AccessKeyID: "key", SecretAccessKey: "secret", SessionToken: "temporary"}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, again, hash, "dynamodb", "eu-central-1", at); err != nil {
		t.Fatal(err)
	}
	if got, want := sent.Header.Get("Authorization"), again.Header.Get("Authorization"); got != want {
		t.Errorf("authorization is %q, want %q", got, want)
	}
}

func TestAWireReadsARefusalAsTheSDKDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRecord(rt)
		it := asItem(&r)
		it[fieldWrittenBy.name()] = blob([]byte("somebody else's"))
		body := []byte(`{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"no","Item":`)
		body = append(appendValues(body, it), '}')
		var found [2]item
		for i, byWire := range []bool{true, false} {
			c := &canned{status: http.StatusBadRequest, answer: string(body)}
			at := addressOf(r.Key)
			done, it, err := tableOver(rt, c, byWire).apply(rt.Context(), at, newChange(encode(&r, "shard"), tokenworker.AttemptID{1}))
			if done || err != nil || len(c.asked) != 1 {
				rt.Fatalf("done %v, error %v after %d requests; want a refusal after one", done, err, len(c.asked))
			}
			found[i] = it
		}
		a, errA := decode(found[0])
		b, errB := decode(found[1])
		if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
			rt.Errorf("the wire finds\n\t%+v, error %v, the SDK\n\t%+v, error %v", a, errA, b, errB)
		}
	})
}

func TestARefusalThatNamesOnesOwnAttemptIsASuccess(t *testing.T) {
	r := fullRecord()
	for _, byWire := range []bool{true, false} {
		c := newChange(encode(&r, "shard"), tokenworker.AttemptID{1})
		body := []byte(`{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"no","Item":`)
		body = append(appendValues(body, item{fieldWrittenBy.name(): c.next[fieldWrittenBy]}), '}')
		table := tableOver(t, &canned{status: http.StatusBadRequest, answer: string(body)}, byWire)
		if done, _, err := table.apply(t.Context(), addressOf(r.Key), c); !done || err != nil {
			t.Errorf("by wire %v: done %v, error %v; want done", byWire, done, err)
		}
	}
}

func TestWhatAWireDoesNotUnderstandIsTheSDKsToDealWith(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		answer string
		tries  int
	}{
		{"a throttled table is tried three times in all", 400, `{"__type":"x#ProvisionedThroughputExceededException"}`, 3},
		{"an internal error is tried three times in all", 500, `{"__type":"x#InternalServerError"}`, 3},
		{"a request that is invalid is tried once more", 400, `{"__type":"x#ValidationException"}`, 2},
		{"an answer that is no JSON is tried again", 400, `<html>`, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := &canned{status: c.status, answer: c.answer}
			table := tableOver(t, client, true)
			r := fullRecord()
			_, _, err := table.apply(t.Context(), addressOf(r.Key), newChange(encode(&r, "shard"), tokenworker.AttemptID{1}))
			unavailable, misconfigured := errors.Is(err, tokenworker.ErrUnavailable), errors.Is(err, tokenworker.ErrMisconfigured)
			if unavailable == misconfigured || len(client.asked) != c.tries {
				t.Errorf("error %v after %d requests, want %d and then the SDK's", err, len(client.asked), c.tries)
			}
			if by := client.asked[len(client.asked)-1].UserAgent(); !strings.Contains(by, "aws-sdk-go") {
				t.Errorf("the last request is by %q, want the SDK", by)
			}
		})
	}
}

func TestThereIsNoWireWhereTheSDKDoesMore(t *testing.T) {
	plain := func() dynamodb.Options {
		return NewClient(aws.Config{
			Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		}).Options()
	}
	if newWire(t.Context(), plain()) == nil {
		t.Error("no wire for a plain client")
	}
	for name, change := range map[string]func(*dynamodb.Options){
		"middleware":     func(o *dynamodb.Options) { o.APIOptions = []func(*middleware.Stack) error{nil} },
		"an interceptor": func(o *dynamodb.Options) { o.Interceptors.AddBeforeTransmit(interceptor{}) },
		"request logs":   func(o *dynamodb.Options) { o.ClientLogMode = aws.LogRequest },
		"endpoint discovery": func(o *dynamodb.Options) {
			o.EndpointDiscovery.EnableEndpointDiscovery = aws.EndpointDiscoveryEnabled
		},
		"a FIPS region":  func(o *dynamodb.Options) { o.Region = "fips-us-east-1" },
		"no region":      func(o *dynamodb.Options) { o.Region = "" },
		"no credentials": func(o *dynamodb.Options) { o.Credentials = nil },
		"DynamoDB Local": func(o *dynamodb.Options) { o.Region = "local" },
	} {
		o := plain()
		change(&o)
		if newWire(t.Context(), o) != nil {
			t.Errorf("a wire in spite of %s", name)
		}
	}
}

type interceptor struct{}

func (interceptor) BeforeTransmit(context.Context, *smithyhttp.InterceptorContext) error { return nil }

func FuzzReadRefusal(f *testing.F) {
	f.Add([]byte(`{"__type":"x#ConditionalCheckFailedException","Item":{"sealed":{"L":[{"B":"AA=="}]},"claim":{"M":{"owner":{"S":"o"}}}}}`))
	f.Add([]byte(`{"__type":"ConditionalCheckFailedException"}`))
	f.Add([]byte(`{"__type":"ConditionalCheckFailedException","Item":{"sealed":{"NULL":true},"seen_ids":{"BS":["AA=="]}}}`))
	f.Add([]byte(`{"__type":"ConditionalCheckFailedException","Item":{"sealed":{"L":[{}]}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, found := readRefusal(body)
		if a == written || a == unclear && found != nil {
			t.Errorf("answer %v with %d attributes", a, len(found))
		}
		if _, err := decode(found); err != nil && !errors.Is(err, tokenworker.ErrMisconfigured) {
			t.Errorf("error %v, want ErrMisconfigured", err)
		}
	})
}

func TestANoteNamesTheIdsAndNothingElse(t *testing.T) {
	c := &canned{status: http.StatusOK, answer: "{}"}
	table := tableOver(t, c, true)
	r := fullRecord()
	stale := &tokenworker.Disconnection{Event: tokenworker.Event{Key: r.Key, Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 1}}}
	_, verdict, err := table.decide(t.Context(), addressOf(r.Key), asItem(&r), tokenworker.AttemptID{1},
		func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
			return r.Disconnect(stale)
		})
	if err != nil || verdict != tokenworker.Stale {
		t.Fatalf("verdict %v, error %v; want stale", verdict, err)
	}
	const want = `"UpdateExpression":"SET written_by = :written_by, seen_ids = :seen_ids","ConditionExpression":"written_by = :read"`
	if !strings.Contains(string(c.bodies[0]), want) {
		t.Errorf("the request is\n\t%s, want one with\n\t%s", c.bodies[0], want)
	}
}

package dynamo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/tokenworker/tokenworker"
)

// script is an HTTP client that gives one answer after another, and then the last one again.
type script struct {
	answers []string // a JSON object; one with a __type is an error
	asked   int
}

func (s *script) Do(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err //nolint:wrapcheck // it stands in for the client
	}
	answer := s.answers[min(s.asked, len(s.answers)-1)]
	s.asked++
	w := httptest.NewRecorder()
	if len(answer) > 9 && answer[:9] == `{"__type"` {
		w.WriteHeader(http.StatusBadRequest)
	}
	_, _ = w.WriteString(answer)
	return w.Result(), nil
}

func inspectionOf(s *script) *inspection {
	return &inspection{
		client: NewClient(aws.Config{
			Region: "us-east-1", HTTPClient: s, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		}),
		config: Config{TableName: "table"},
	}
}

func TestSetupWaitsForWhatTakesTime(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string
		wait    func(*inspection, context.Context) error
	}{
		{
			name: "backups of a new table that are not ready yet",
			answers: []string{
				`{"__type":"x#ContinuousBackupsUnavailableException"}`, `{"__type":"x#ContinuousBackupsUnavailableException"}`, `{}`,
			},
			wait: (*inspection).enableRecovery,
		}, {
			name: "a table that shows late, is being made, and fills an index",
			answers: []string{
				`{"__type":"x#ResourceNotFoundException"}`, `{"Table":{"TableStatus":"CREATING"}}`,
				`{"Table":{"TableStatus":"ACTIVE","GlobalSecondaryIndexes":[{"IndexName":"due","IndexStatus":"CREATING"}]}}`,
				`{"Table":{"TableStatus":"ACTIVE","GlobalSecondaryIndexes":[{"IndexName":"due","IndexStatus":"ACTIVE"}]}}`,
			},
			wait: (*inspection).settle,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: c.answers}
				if err := c.wait(inspectionOf(s), t.Context()); err != nil || s.asked != len(c.answers) {
					t.Errorf("error %v after %d questions, want none after %d", err, s.asked, len(c.answers))
				}
			})
		})
	}

	t.Run("but not for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{answers: []string{`{"Table":{"TableStatus":"UPDATING"}}`}}
			if err := inspectionOf(s).settle(t.Context()); !errors.Is(err, tokenworker.ErrUnavailable) {
				t.Errorf("error %v, want ErrUnavailable", err)
			}
		})
	})

	t.Run("nor beyond the end of its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), changeTimeout/2)
			defer cancel()
			s := &script{answers: []string{`{"Table":{"TableStatus":"UPDATING"}}`}}
			if err := inspectionOf(s).settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want the context's", err)
			}
		})
	})
}

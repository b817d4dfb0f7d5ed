package fositetest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
)

const (
	clientID = "app"
	secret   = "a secret"
	subject  = "user"
	password = "a password"
)

// startFosite serves fosite with its own store, over HTTP at the paths that the demo provider has. A password grant stands
// in for the user's consent.
func startFosite(t *testing.T) *httptest.Server {
	t.Helper()
	config := &fosite.Config{
		AccessTokenLifespan: time.Hour,
		RefreshTokenScopes:  []string{}, // every grant gets a refresh token
		GlobalSecret:        []byte("thirty-two bytes of test secret!"),
		HashCost:            4, // the least: secrets of tests need no protection
	}
	hash, err := (&fosite.BCrypt{Config: config}).Hash(context.Background(), []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	store := storage.NewMemoryStore()
	store.Clients[clientID] = &fosite.DefaultClient{ID: clientID, Secret: hash, GrantTypes: []string{"refresh_token", "password"}}
	store.Users[subject] = storage.MemoryUserRelation{Username: subject, Password: password}
	provider := compose.Compose(config, store, &compose.CommonStrategy{CoreStrategy: compose.NewOAuth2HMACStrategy(config)},
		compose.OAuth2ResourceOwnerPasswordCredentialsFactory, //nolint:staticcheck // deprecated for users, of whom there are none
		compose.OAuth2RefreshTokenGrantFactory,
		compose.OAuth2TokenRevocationFactory,
		compose.OAuth2TokenIntrospectionFactory,
	)

	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		request, err := provider.NewAccessRequest(r.Context(), r, &fosite.DefaultSession{})
		if err != nil {
			provider.WriteAccessError(r.Context(), w, request, err)
			return
		}
		answer, err := provider.NewAccessResponse(r.Context(), request)
		if err != nil {
			provider.WriteAccessError(r.Context(), w, request, err)
			return
		}
		provider.WriteAccessResponse(r.Context(), w, request, answer)
	})
	mux.HandleFunc("/revoke", func(w http.ResponseWriter, r *http.Request) {
		provider.WriteRevocationResponse(r.Context(), w, provider.NewRevocationRequest(r.Context(), r))
	})
	mux.HandleFunc("/introspect", func(w http.ResponseWriter, r *http.Request) {
		answer, err := provider.NewIntrospectionRequest(r.Context(), r, &fosite.DefaultSession{})
		if err != nil {
			provider.WriteIntrospectionError(r.Context(), w, err)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]bool{"active": answer.IsActive()}) // read by the test, which would notice
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

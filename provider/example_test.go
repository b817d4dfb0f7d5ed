package provider_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("the provider is asked:", r.FormValue("grant_type"))
		_, _ = io.WriteString(w, `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 300}`)
	}))
	defer server.Close()
	_ = os.Setenv("EXAMPLE_ID", "app")
	_ = os.Setenv("EXAMPLE_SECRET", "s3cret")

	ctx := context.Background()
	catalogue, err := provider.Load(ctx, nil, provider.Source{Name: "providers.yaml", YAML: []byte(`
providers:
  example:
    token_url: ` + server.URL + `/token
    allow_networks: [127.0.0.0/8] # where this example runs
    client: {id: env:EXAMPLE_ID, secret: env:EXAMPLE_SECRET}
`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := provider.NewClient(provider.Config{})
	defer client.Close()

	p, _ := catalogue.Get("example")
	key := tokenworker.Key{OrgID: "acme", ProviderID: "example", CompanyID: "c-1"}
	set := tokenworker.TokenSet{
		AccessToken:  tokenworker.SecretString("old-access"),
		RefreshToken: tokenworker.SecretString("old-refresh"),
	}
	answer := client.Refresh(ctx, p, key, set)
	fmt.Println(answer.Outcome, answer.Set.RefreshToken, answer.NewRefreshToken)

	set.RefreshToken = tokenworker.Secret{}
	answer = client.Refresh(ctx, p, key, set)
	fmt.Println(answer.Outcome, answer.Code)
	// Output:
	// the provider is asked: refresh_token
	// ok [redacted] true
	// unsupported no_refresh_token
}

func ExampleLoad_mistake() {
	_, err := provider.Load(context.Background(), nil, provider.Source{Name: "providers.yaml", YAML: []byte(`
providers:
  xero:
    rotation: sometimes
`)})
	fmt.Println(err)
	// Output:
	// providers.yaml:4: provider "xero": rotation: not one of strict, grace, static
}

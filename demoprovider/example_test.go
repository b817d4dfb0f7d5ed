package demoprovider_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tokenworker/tokenworker/demoprovider"
)

// A client that posts a refresh token twice loses its grant, and the ledger says so.
func Example() {
	provider, err := demoprovider.New(demoprovider.Config{
		Clients: []demoprovider.Client{{ID: "app", Auth: demoprovider.AuthNone}},
	})
	if err != nil {
		panic(err)
	}
	if err := provider.Start(context.Background(), "127.0.0.1:0"); err != nil {
		panic(err)
	}
	defer provider.Close()

	tokens, err := provider.Grant("app", "a user", "read")
	if err != nil {
		panic(err)
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.RefreshToken}, "client_id": {"app"}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 2 {
		request, err := http.NewRequestWithContext(
			context.Background(), http.MethodPost, provider.URL()+"/token", strings.NewReader(form.Encode()))
		if err != nil {
			panic(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := client.Do(request)
		if err != nil {
			panic(err)
		}
		answer.Body.Close()
		fmt.Println(answer.Status)
	}
	family, err := provider.Family(tokens.RefreshToken)
	if err != nil {
		panic(err)
	}
	fmt.Println(provider.Totals().Reuses, family.Fate)
	// Output:
	// 200 OK
	// 400 Bad Request
	// 1 revoked_by_reuse
}

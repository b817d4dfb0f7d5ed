package demoprovider

import "testing"

func FuzzWhatParsesIsATokenThatWasMinted(f *testing.F) {
	m, err := newMint()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.token(tokenID{AccessPrefix, 0, 0}))
	f.Add(m.token(tokenID{RefreshPrefix, 1<<32 - 1, 1<<32 - 1}))
	f.Add(AccessPrefix + "0123456789abcdef0123456789abcdef")
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := m.parse(text); ok && m.token(id) != text {
			t.Errorf("%q parses as %+v, which is %q", text, id, m.token(id))
		}
	})
}

func TestTokensAreAllDifferentAndKnownAgain(t *testing.T) {
	m, err := newMint()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, prefix := range []string{AccessPrefix, RefreshPrefix} {
		for family := range 20 {
			for number := range 20 {
				id := tokenID{prefix, family, number}
				token := m.token(id)
				if got, ok := m.parse(token); !ok || got != id || seen[token] || len(token) != len(prefix)+32 {
					t.Fatalf("%+v gives %s, which is %+v", id, token, got)
				}
				seen[token] = true
			}
		}
	}
	another, err := newMint()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := another.parse(m.token(tokenID{RefreshPrefix, 0, 0})); ok {
		t.Error("a token of another server is known")
	}
}

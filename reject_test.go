package renew

import (
	"testing"

	"github.com/seed-f29168f7/renew/budget"
)

// R18: a budget that is shared, by pointer or by account, is charged by the first Reject like one's own.
func TestR18_RejectOnASharedBudget(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
	}{
		{"by pointer", Config{Budget: &budget.Budget{}}},
		{"by account", Config{Endpoint: "https://issuer.example/token", Account: "daemon"}},
		{"own", Config{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := transportManager(t)
			ts, err := m.Add("one", &numbered{}, tc.cfg)
			if err != nil {
				t.Fatal(err)
			}
			tok, err := ts.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			next, err := ts.Reject(t.Context(), tok)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := next.Generation(), tok.Generation()+1; got != want {
				t.Errorf("Reject = generation %d, want %d", got, want)
			}
			if left := ts.Status().BudgetLeft; left != 3 {
				t.Errorf("BudgetLeft after one Reject = %d, want 3", left)
			}
		})
	}
}

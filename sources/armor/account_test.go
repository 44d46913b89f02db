package armor

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestAccountID(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "0": 0, "22": 22, "0022": 22, "9223372036854775807": 9223372036854775807} {
		if got, err := accountID(in); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"abc", "-1", "+1", "2.0", " 22", "22 ", "1e3", "0x16", "9223372036854775808", "٢٢"} {
		if got, err := accountID(in); err == nil {
			t.Errorf("%q: %d, want an error", in, got)
		}
	}
}

func TestMeReply(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []Account // nil for an error
	}{
		{`{"user":{"type":"user"},"accounts":[{"id":1000,"name":"A ","currency":"USD       ","products":null},{"ID":22}],"features":[1]}`, []Account{{1000, "A"}, {22, ""}}},
		{`{"Accounts":[{"Id":5,"Name":7}]}`, []Account{{5, ""}}},
		{`{"accounts":[]}`, []Account{}},
		{`{"accounts":null}`, nil}, {`{}`, nil}, {`{"accounts":{}}`, nil}, {`{"accounts":"x"}`, nil}, {`{"accounts":[null]}`, nil}, {`{"accounts":[7]}`, nil},
		{`{"accounts":[{}]}`, nil}, {`{"accounts":[{"id":"22"}]}`, nil}, {`{"accounts":[{"id":22.5}]}`, nil}, {`{"accounts":[{"id":0}]}`, nil}, {`{"accounts":[{"id":-3}]}`, nil},
		{`{"accounts":[{"id":1e3}]}`, nil}, {`{"accounts":[{"id":99999999999999999999}]}`, nil}, {`{"accounts":[{"id":1,"ID":2}]}`, nil}, {`{"accounts":[],"Accounts":[]}`, nil},
		{`[]`, nil}, {``, nil}, {`<html>`, nil},
	} {
		got, err := accountsOf([]byte(tt.in))
		if (err == nil) != (tt.want != nil) || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v, want %v", tt.in, got, err, tt.want)
		}
	}
}

func FuzzMeReply(f *testing.F) {
	for _, s := range []string{`{"accounts":[{"id":1000,"name":"A"}]}`, `{"ACCOUNTS":[{"ID":1}]}`, `{"accounts":[]}`, `{"accounts":[[[[`, `{"accounts":[{"id":1e3}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := accountsOf(body)
		if err != nil && list != nil {
			t.Fatal("a list and an error")
		}
		for _, a := range list {
			if a.ID <= 0 {
				t.Fatalf("an account %d", a.ID)
			}
		}
		var c choice
		id, err := c.choose(0, list)
		if (err == nil) != (len(list) > 0) || err == nil && id != list[0].ID {
			t.Fatalf("chose %d of %v: %v", id, list, err)
		}
	})
}

func TestChoose(t *testing.T) {
	list := func(ids ...int64) (out []Account) {
		for _, id := range ids {
			out = append(out, Account{ID: id})
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		wanted int64
		lists  [][]Account
		want   []int64 // of each list; 0 for an error
		gone   bool    // of the last
	}{
		{"first", 0, [][]Account{list(10, 20)}, []int64{10}, false},
		{"first is kept though the order changes", 0, [][]Account{list(10, 20), list(20, 10), list(30, 10)}, []int64{10, 10, 10}, false},
		{"first is gone, and comes back", 0, [][]Account{list(10, 20), list(20), list(20, 10)}, []int64{10, 0, 10}, false},
		{"gone", 0, [][]Account{list(10, 20), list(20)}, []int64{10, 0}, true},
		{"wanted", 20, [][]Account{list(10, 20), list(20)}, []int64{20, 20}, false},
		{"not listed", 99, [][]Account{list(10, 20)}, []int64{0}, false},
		{"not listed, then listed", 99, [][]Account{list(10), list(99)}, []int64{0, 99}, false},
		{"none", 0, [][]Account{nil}, []int64{0}, false},
		{"none but wanted", 7, [][]Account{nil}, []int64{0}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c choice
			for i, l := range tt.lists {
				got, err := c.choose(tt.wanted, l)
				if got != tt.want[i] || (err == nil) != (got != 0) {
					t.Fatalf("list %d: %d, %v, want %d", i, got, err, tt.want[i])
				}
				ae, ok := errors.AsType[*AccountError](err)
				if err != nil && (!ok || !slices.Equal(ae.Valid, ids(l)) || i == len(tt.lists)-1 && ae.Gone != tt.gone) {
					t.Errorf("list %d: %#v, want the valid ids, gone %v", i, err, tt.gone)
				}
			}
		})
	}
}

func TestAccountErrorListsTheValidIDs(t *testing.T) {
	var many []int64
	for id := range int64(30) {
		many = append(many, id+1)
	}
	for _, tt := range []struct {
		err  *AccountError
		want string
	}{
		{&AccountError{ID: 99, Valid: []int64{10, 22}}, "the account 99 is not among those of the login: set AccountID to one of 10, 22"},
		{&AccountError{ID: 99, Gone: true, Valid: []int64{10}}, "the account 99 is no longer among those of the login: set AccountID to one of 10"},
		{&AccountError{ID: 99}, "the account 99 is not among those of the login, which has none"},
		{&AccountError{}, "the login may act for no account: give the user one in Armor's portal"},
		{&AccountError{ID: 99, Valid: many}, "19, 20 and 10 more"},
	} {
		if got := tt.err.Error(); !strings.HasSuffix(got, tt.want) {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

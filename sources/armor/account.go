package armor

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Account is one account that a login may act for.
type Account struct {
	// ID is what AccountHeader carries.
	ID int64
	// Name is what Armor calls it. It may be empty.
	Name string
}

// AccountError says that the account to act for is not among those that the login may
// act for. A Source returns it within a *renew.IssueError of kind Invalid: no timer tries again; after one window
// of the budget, or Reset, the next caller does (R23).
type AccountError struct {
	// ID is the account that is wanted; 0 when any would do and there is none.
	ID int64
	// Gone says that an earlier login found the account.
	Gone bool
	// Valid are the ids of the accounts that there are, in Armor's order.
	Valid []int64
}

// Error names the account and the valid ids (the first 20 of them).
func (e *AccountError) Error() string {
	var b strings.Builder
	switch {
	case e.ID == 0:
		return "armor: the login may act for no account: give the user one in Armor's portal"
	case e.Gone:
		fmt.Fprintf(&b, "armor: the account %d is no longer among those of the login", e.ID)
	default:
		fmt.Fprintf(&b, "armor: the account %d is not among those of the login", e.ID)
	}
	const most = 20
	if len(e.Valid) == 0 {
		b.WriteString(", which has none")
		return b.String()
	}
	b.WriteString(": set AccountID to one of ")
	for i, id := range e.Valid[:min(len(e.Valid), most)] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.FormatInt(id, 10))
	}
	if more := len(e.Valid) - most; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}

// accountID reads a field AccountID: 0 stands for the first account.
func accountID(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 || strings.Trim(text, "0123456789") != "" {
		return 0, errors.New("must be an account's number in decimal digits, or empty for the first account")
	}
	return id, nil
}

// accountsOf reads the accounts of the reply of /me. Of an account only the id must be there.
func accountsOf(body []byte) ([]Account, error) {
	m, err := object(body, "accounts")
	if err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if absent(m["accounts"]) || json.Unmarshal(m["accounts"], &items) != nil {
		return nil, errors.New("accounts is not a list")
	}
	accounts := make([]Account, 0, min(len(items), 64))
	for _, item := range items {
		a, err := object(item, "id", "name")
		if err != nil {
			return nil, errors.New("an account is not an object")
		}
		id, err := strconv.ParseInt(string(a["id"]), 10, 64)
		if err != nil || id <= 0 {
			return nil, errors.New("an account has no id that is a positive integer")
		}
		name, _ := stringOf(a["name"])
		accounts = append(accounts, Account{ID: id, Name: strings.TrimSpace(name)})
	}
	return accounts, nil
}

// choice is the account that a Source acts for, and the list of the last login.
type choice struct {
	mu   sync.Mutex // guards what follows; held for no call
	id   int64      // 0: none was chosen yet
	list []Account
}

// choose takes the list of a login. It picks wanted, or the first one where wanted
// is 0, once; from then on the account must be in every list.
func (c *choice) choose(wanted int64, list []Account) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = list
	id, kept := wanted, c.id != 0
	if kept {
		id = c.id
	}
	if id == 0 && len(list) > 0 {
		id = list[0].ID
	}
	if id == 0 || !slices.ContainsFunc(list, func(a Account) bool { return a.ID == id }) {
		return 0, &AccountError{ID: id, Gone: kept, Valid: ids(list)}
	}
	c.id = id
	return id, nil
}

func (c *choice) account() (Account, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id == 0 {
		return Account{}, false
	}
	for _, a := range c.list {
		if a.ID == c.id {
			return a, true
		}
	}
	return Account{ID: c.id}, true
}

func (c *choice) accounts() []Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

// ids returns the ids, or nil.
func ids(list []Account) []int64 {
	var out []int64
	for _, a := range list {
		out = append(out, a.ID)
	}
	return out
}

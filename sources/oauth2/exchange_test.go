package oauth2

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-f29168f7/renew"
	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

// anonymousStyle stands for the zero AuthStyle of a client without an id.
const anonymousStyle = AuthStyle(255)

// What a token exchange sends (RFC 8693, section 2.1), in each way of client authentication, and in none.
func TestTokenExchangeSends(t *testing.T) {
	srv := newIssuer(t, always(200, `{"access_token":"abc","issued_token_type":"`+JWTTokenType+`","token_type":"Bearer","expires_in":60,"refresh_token":"dropped"}`))
	for _, style := range []AuthStyle{InHeader, InParams, None, anonymousStyle} {
		src := &TokenExchange{
			TokenURL: srv.URL, AuthStyle: style, SubjectToken: renew.NewSecret(oddToken), SubjectTokenType: IDTokenType,
			ActorTokenFunc: func(context.Context) (renew.Secret, error) { return renew.NewSecret("actor"), nil }, RequestedTokenType: JWTTokenType,
			Resources: []string{"https://a.example/x", "urn:b"}, Audiences: []string{"one", "two"}, Scopes: []string{"s", "t"}, EndpointParams: url.Values{"options": {"{}"}},
		}
		want := url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {oddToken}, "subject_token_type": {IDTokenType},
			"actor_token": {"actor"}, "actor_token_type": {AccessTokenType}, "requested_token_type": {JWTTokenType},
			"resource": {"https://a.example/x", "urn:b"}, "audience": {"one", "two"}, "scope": {"s t"}, "options": {"{}"},
		}
		if style == anonymousStyle {
			src.AuthStyle = InHeader // as it is where it was not set
		} else if style != None {
			src.ClientID, src.ClientSecret = oddID, renew.NewSecret(oddSecret)
			want["client_id"], want["client_secret"] = []string{oddID}, []string{oddSecret}
		}
		if err := src.Validate(); err != nil {
			t.Fatal(err)
		}
		tok, err := src.Issue(t.Context())
		if err != nil || tok.Value.Reveal() != "abc" || !tok.Refresh.IsZero() || tok.Attr("issued_token_type") != JWTTokenType {
			t.Fatalf("%v, %v", tok, err)
		}
		if got := srv.forms[len(srv.forms)-1]; got.Encode() != want.Encode() {
			t.Errorf("style %d: sent %v, want %v", style, got, want)
		}
	}
}

// What a reply must say of the token that was issued (RFC 8693, section 2.2.1). N_A is never an auth-scheme.
func TestTokenExchangeReplies(t *testing.T) {
	for _, tt := range []struct {
		issued, typ          string
		requested, tokenType string
		wantType             string // empty: an error
	}{
		{AccessTokenType, "Bearer", "", "", "Bearer"},
		{AccessTokenType, "bearer", AccessTokenType, "", "Bearer"},
		{JWTTokenType, "Bearer", AccessTokenType, "", ""},
		{"", "Bearer", "", "", ""},
		{IDTokenType, "N_A", IDTokenType, "", ""},
		{IDTokenType, "n_a", "", "", ""},
		{IDTokenType, "N_A", IDTokenType, "Bearer", "Bearer"},
		{RefreshTokenType, "N_A", "", "Bearer", ""},
		{AccessTokenType, "DPoP", "", "", ""},
	} {
		srv := newIssuer(t, always(200, fmt.Sprintf(`{"access_token":"abc","issued_token_type":%q,"token_type":%q}`, tt.issued, tt.typ)))
		src := &TokenExchange{TokenURL: srv.URL, AuthStyle: None, SubjectToken: renew.NewSecret(oddToken), RequestedTokenType: tt.requested, TokenType: tt.tokenType}
		tok, err := src.Issue(t.Context())
		if tt.wantType != "" {
			if err != nil || tok.Type != tt.wantType {
				t.Errorf("%+v: %v, %v", tt, tok, err)
			}
			continue
		}
		if e := issueError(t, err); e.Kind != renew.Invalid || !e.Permanent || strings.Contains(err.Error(), "N_A") {
			t.Errorf("%+v: %#v: %v", tt, e, err)
		}
	}
}

// A refusal of the subject token is for good only where there can be no other one.
func TestTokenExchangeRefusals(t *testing.T) {
	subject := func(context.Context) (renew.Secret, error) { return renew.NewSecret(oddToken), nil }
	for _, tt := range []struct {
		code             string
		fixed, permanent bool
	}{
		{"invalid_grant", true, true}, {"invalid_grant", false, false}, {"invalid_request", true, true}, {"invalid_request", false, false},
		{"invalid_target", false, true}, {"invalid_client", false, true},
	} {
		srv := newIssuer(t, always(400, `{"error":"`+tt.code+`"}`))
		src := &TokenExchange{TokenURL: srv.URL, AuthStyle: None, SubjectTokenFunc: subject}
		if tt.fixed {
			src.SubjectTokenFunc, src.SubjectToken = nil, renew.NewSecret(oddToken)
		}
		_, err := src.Issue(t.Context())
		if e := issueError(t, err); e.Kind != renew.Refused || e.Permanent != tt.permanent || e.Code != tt.code {
			t.Errorf("%+v: %#v", tt, e)
		}
		leaktest.Check(t, err, oddToken)
	}
	why := errors.New("no file")
	src := &TokenExchange{TokenURL: "https://x.example", AuthStyle: None, SubjectTokenFunc: func(context.Context) (renew.Secret, error) { return renew.Secret{}, why }}
	if _, err := src.Issue(t.Context()); !errors.Is(err, why) || !issueError(t, err).Unsent {
		t.Errorf("no subject token: %v", err)
	}
}

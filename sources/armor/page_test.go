package armor

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-f29168f7/renew/sources/internal/leaktest"
)

const (
	pageOfLogin = `<!DOCTYPE html><html lang="en-US"><body><div id="error"><span id="errorText" for="" aria-live="assertive">Incorrect user ID or password.</span></div>
<form method="post" id="loginForm" autocomplete="off" action="/adfs/oauth2/authorize?a=b"><input id="userNameInput" name="UserName" type="email" value="">
<input id="passwordInput" name="Password" type="password"><input type="checkbox" name="Kmsi" value="true"><input id="optionForms" type="hidden" name="AuthMethod" value="FormsAuthentication"></form>
<form id="options" method="post"><input id="optionSelection" type="hidden" name="AuthMethod"></form></body></html>`
	pageOfServer = `<html><body><form method="post" id="options" action="https://sts.armor.com/adfs/x"><input type="hidden" id="authMethod" name="AuthMethod" value="AzureMfaServerAuthentication"/>
<input id="context" type="hidden" name="Context" value="abc+/=&quot;&amp;"/><input type="hidden" name="Other" value="1"/></form></body></html>`
	pageOfCloud = `<FORM ID="options"><INPUT TYPE="HIDDEN" NAME="AuthMethod" VALUE="AzureMfaAuthentication"><input type=hidden name=Context value=c1><input type="hidden" name="__EVENTTARGET" value="">
<input type="hidden" name="Fresh" value="f"><input name="VerificationCode"><input type="submit" name="SignIn" value="Sign in"></form><div id="validEntropyNumber"> <b>42</b> </div>`
	pageOfToken = `<html><head><title>Working...</title></head><body><form method="POST" name="hiddenform" action="https://amp.armor.com/"><input type="hidden" name="id_token" value="a.b.c" />
<noscript><p>Script is disabled. Click Submit to continue.</p><input type="submit" value="Submit" /></noscript></form><script language="javascript">window.setTimeout('document.forms[0].submit()', 0);</script></body></html>`
)

func TestReadPage(t *testing.T) {
	bad := pageKind(255)
	for _, tt := range []struct {
		name, in string
		kind     pageKind // bad for an error
		check    func(p page) bool
	}{
		{"login", pageOfLogin, pageLogin, func(p page) bool { return p.failed }},
		{"login in Japanese", strings.NewReplacer("Incorrect user ID or password.", "ユーザー ID またはパスワードが正しくありません。", "en-US", "ja").Replace(pageOfLogin), pageLogin, func(p page) bool { return p.failed }},
		{"server", pageOfServer, pageMFA, func(p page) bool {
			return p.method == methodServer && p.form().Encode() == "AuthMethod=AzureMfaServerAuthentication&Context=abc%2B%2F%3D%22%26" && p.action == "https://sts.armor.com/adfs/x" && !p.code && !p.failed && p.number == ""
		}},
		{"server, denied, in German", `<span id="errorText">Die Anmeldung wurde abgelehnt.</span>` + pageOfServer, pageMFA, func(p page) bool { return p.failed }},
		{"server, empty error", `<span id="errorText"> <br> </span>text` + pageOfServer, pageMFA, func(p page) bool { return !p.failed }},
		{"method in another form", `<form><input name="AuthMethod" value=""></form><form><input name="AuthMethod" value="AzureMfaAuthentication"></form><form><input name="Context" value="c"></form>`, pageMFA,
			func(p page) bool { return p.method == methodCloud && p.form().Get("Context") == "c" }},
		{"no method", `<form><input name="Context" value="c"></form>`, pageMFA, func(p page) bool { return p.method == methodServer }},
		{"cloud", pageOfCloud, pageMFA, func(p page) bool {
			return p.method == methodCloud && p.code && p.number == "42" && p.form().Encode() == "AuthMethod=AzureMfaAuthentication&Context=c1&Fresh=f&__EVENTTARGET="
		}},
		{"inputs of a form elsewhere", `<form id="f"></form><div><input name="Context" form="f" value="c"></div>`, pageMFA, nil},
		{"token", pageOfToken, pageToken, func(p page) bool { return p.token == "a.b.c" }},
		{"token in Arabic", strings.ReplaceAll(pageOfToken, "Script is disabled. Click Submit to continue.", "تم تعطيل البرنامج النصي"), pageToken, nil},
		{"token outside a form", `<input name="id_token" value="a.b.c">`, pageToken, nil},
		{"token wins over a login form", pageOfToken + pageOfLogin, pageToken, nil},
		{"error", `<form method="POST" action="https://amp.armor.com/"><input type="hidden" name="error" value="access_denied"></form>`, pageRefused, nil},
		{"token in a comment", `<!-- <input name="id_token" value="a.b.c"> -->`, pageOther, nil},
		{"token in a script", `<script>"<input name='id_token' value='a.b.c'>"</script>`, pageOther, nil},
		{"token in a textarea", `<textarea><input name="id_token" value="a.b.c"></textarea>`, pageOther, nil},
		{"nothing", "", pageOther, nil},
		{"JSON", `{"id_token":"a.b.c"}`, pageOther, nil},
		{"binary", "\x00\xff\xfe<\x00>", pageOther, nil},
		{"two tokens", pageOfToken + pageOfToken, bad, nil},
		{"two tokens in one form", `<form><input name="id_token" value="a.b.c"><input name="ID_TOKEN" value="d.e.f"></form>`, bad, nil},
		{"empty token", `<input name="id_token">`, bad, nil},
		{"two contexts", `<form><input name="Context" value="a"><input name="Context" value="b"></form>`, bad, nil},
		{"empty context", `<form><input name="Context"></form>`, bad, nil},
		{"unknown method", `<form><input name="Context" value="a"><input name="AuthMethod" value="CertificateAuthentication"></form>`, bad, nil},
		{"a number that is none", `<p id="validEntropyNumber">forty-two</p>` + pageOfServer, bad, nil},
		{"a long number", `<p id="validEntropyNumber">123456789</p>` + pageOfServer, bad, nil},
		{"too many fields", strings.Repeat(`<input name="a">`, maxFields+1), bad, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := readPage([]byte(tt.in))
			if (err != nil) != (tt.kind == bad) || err == nil && p.kind != tt.kind {
				t.Fatalf("kind %d, %v, want %d", p.kind, err, tt.kind)
			}
			if tt.check != nil && !tt.check(p) {
				t.Errorf("page %+v", p)
			}
			leaktest.Check(t, err, "a.b.c", "CertificateAuthentication", "forty-two")
		})
	}
}

func FuzzPage(f *testing.F) {
	for _, s := range []string{pageOfLogin, pageOfServer, pageOfCloud, pageOfToken, `<form id=f><input form=f name=Context value=1><table><form>`, `<span id="errorText"><span></span>x`, `<!--`, `<script>`, `<input name=id_token value=a><p id="validEntropyNumber">`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		start := time.Now()
		p, err := readPage(body)
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("%d bytes took %v", len(body), d)
		}
		if err != nil {
			return
		}
		switch p.kind {
		case pageToken:
			if p.token == "" {
				t.Fatal("a token page without a token")
			}
		case pageMFA:
			out := p.form()
			if m := out.Get("AuthMethod"); m != methodServer && m != methodCloud || len(out["AuthMethod"]) != 1 || out.Has("VerificationCode") {
				t.Fatalf("answered by %v", out)
			}
			if strings.Trim(p.number, "0123456789") != "" || len(p.number) > maxNumber {
				t.Fatalf("the number %q", p.number)
			}
		default:
			if p.token != "" || p.fields != nil {
				t.Fatalf("%+v", p)
			}
		}
	})
}

func TestRedirect(t *testing.T) {
	home, _ := url.Parse("https://sts.armor.com/adfs/oauth2/authorize?a=b")
	for _, tt := range []struct {
		method, location string
		status           int
		want             string // empty for an error
	}{
		{"POST", "/adfs/x?c=d", 302, "https://sts.armor.com/adfs/x?c=d"},
		{"POST", "https://sts.armor.com:443/adfs/x", 303, "https://sts.armor.com:443/adfs/x"},
		{"POST", "https://STS.armor.com/", 301, "https://STS.armor.com/"},
		{"GET", "/x", 307, "https://sts.armor.com/x"},
		{"POST", "/x", 307, ""}, {"POST", "/x", 308, ""},
		{"POST", "", 302, ""}, {"POST", "https://sts.armor.com.evil.example/", 302, ""}, {"POST", "//evil.example/", 302, ""},
		{"GET", "http://sts.armor.com/", 302, ""}, {"GET", "https://sts.armor.com:8443/", 302, ""}, {"GET", "https://user@sts.armor.com/", 302, ""},
		{"GET", "https://amp.armor.com/#id_token=a.b.c", 302, ""}, {"GET", "javascript:alert(1)", 302, ""}, {"GET", "https:sts.armor.com", 302, ""}, {"GET", "%zz", 302, ""},
	} {
		got, err := redirect(home, home, tt.method, answer{status: tt.status, header: http.Header{"Location": {tt.location}}})
		if (err == nil) != (tt.want != "") || err == nil && got.String() != tt.want {
			t.Errorf("%s %d to %s: %v, %v, want %q", tt.method, tt.status, tt.location, got, err, tt.want)
		}
		leaktest.Check(t, err, "a.b.c", "evil.example")
	}
}

func TestFormTarget(t *testing.T) {
	home, _ := url.Parse("https://sts.armor.com/adfs/oauth2/authorize?a=b")
	from, _ := url.Parse("https://sts.armor.com/adfs/other?c=d")
	d := &dance{target: home}
	for action, want := range map[string]string{
		"": from.String(), "?e=f": "https://sts.armor.com/adfs/other?e=f", "/adfs/y": "https://sts.armor.com/adfs/y", "https://sts.armor.com/z#frag": "https://sts.armor.com/z",
		"https://evil.example/": home.String(), "http://sts.armor.com/": home.String(), "//evil.example": home.String(), "javascript:x": home.String(), "%zz": home.String(), "https://u:p@sts.armor.com/": home.String(),
	} {
		if got := d.formTarget(from, action).String(); got != want {
			t.Errorf("action %q: %s, want %s", action, got, want)
		}
	}
}

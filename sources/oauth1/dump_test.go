package oauth1

import (
	"encoding/json"
	"fmt"

	"github.com/davecgh/go-spew/spew"
)

// dumps prints v as programs and test libraries do.
func dumps(v any) []string {
	js, _ := json.Marshal(v) // what has no JSON form shows nothing
	out := []string{string(js), spew.Sdump(v), spew.Sprintf("%#+v", v)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		out = append(out, fmt.Sprintf(verb, v))
	}
	return out
}

package sources_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/seed-f29168f7/renew"

// arrow is an import: the folder that has it and the folder that it names, both
// from the root of the module ("." and "sources/oauth2").
type arrow struct{ from, to string }

// allowed are the arrows between sources that are meant.
var allowed = []arrow{{"sources/toopher", "sources/oauth1"}, {"sources/oauth2", "sources/jwt"}}

// wrong says what is wrong with an arrow, or nothing.
func wrong(a arrow) string {
	to, isSource := source(a.to)
	if !isSource || slices.Contains(allowed, a) {
		return ""
	}
	from, inSources := source(a.from)
	switch {
	case !inSources:
		return "only sources import what is below sources/"
	case to == "internal" || from == to:
		return ""
	case from == "internal":
		return "what sources have in common imports no source"
	}
	return "sources do not import one another"
}

// source returns the first folder below sources/.
func source(folder string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(folder, "sources/")
	name, _, _ = strings.Cut(rest, "/")
	return name, ok
}

// TestArrows reads the imports of every file of the module, for whatever system,
// except tests and nested modules.
func TestArrows(t *testing.T) {
	root, files := "..", 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(file, root), string(filepath.Separator)))
		if d.IsDir() {
			if rel == "" {
				return nil
			}
			_, notModule := os.Stat(filepath.Join(file, "go.mod"))
			if notModule == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		files++
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if to, ok := strings.CutPrefix(imported, module+"/"); ok {
				if why := wrong(arrow{path.Dir(rel), to}); why != "" {
					t.Errorf("%s imports %s: %s", rel, imported, why)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("files read = %d, want the whole module", files)
	}
}

// The rule itself, since a tree without a wrong arrow cannot show that it works.
func TestWrongArrows(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{".", "budget", true},
		{".", "sources/oauth2", false},
		{".", "sources/internal/header", false},
		{"budget", "sources/static", false},
		{"renewtest", "sources/static", false},
		{"sources/oauth2", "clock", true},
		{"sources/oauth2", "sources/internal/tokenendpoint", true},
		{"sources/oauth2", "sources/oauth2/device", true},
		{"sources/oauth2", "sources/static", false},
		{"sources/oauth1", "sources/toopher", false},
		{"sources/toopher", "sources/oauth1", true},
		{"sources/toopher", "sources/oauth2", false},
		{"sources/internal/input", "sources/oauth2", false},
		{"sources/internal/input", "sources/internal/header", true},
	} {
		if why := wrong(arrow{tt.from, tt.to}); (why == "") != tt.ok {
			t.Errorf("%s imports %s: %q, want ok %v", tt.from, tt.to, why, tt.ok)
		}
	}
}

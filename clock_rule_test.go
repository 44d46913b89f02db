package renew

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clockCalls are what only package clock may use: they read or set a clock that
// no test can move.
var clockCalls = map[string][]string{
	"time":    {"Now", "Since", "Until", "NewTimer", "AfterFunc", "Sleep", "After", "Tick", "NewTicker"},
	"context": {"WithTimeout", "WithDeadline", "WithTimeoutCause", "WithDeadlineCause"},
}

// clockUses returns what a file uses of clockCalls, as "time.Now at file:line".
func clockUses(fset *token.FileSet, file *ast.File) (uses []string) {
	names := map[string][]string{} // what the package is called in this file
	for _, imp := range file.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		if banned, ok := clockCalls[path]; ok {
			name := path
			if imp.Name != nil {
				name = imp.Name.Name
			}
			names[name] = banned
			if name == "." {
				uses = append(uses, "a dot import of "+path)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok {
			for _, banned := range names[pkg.Name] {
				if sel.Sel.Name == banned {
					uses = append(uses, pkg.Name+"."+banned+" at "+fset.Position(sel.Pos()).String())
				}
			}
		}
		return true
	})
	return uses
}

func TestR25_OnlyClockReadsTheClock(t *testing.T) {
	// Outside tests and the folders for programs, only clock/ reads or sets the system's clock.
	outside := map[string]bool{"clock": true, "bench": true, "examples": true, "interop": true}
	fset, files := token.NewFileSet(), 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (outside[path] || name == "testdata" || name[0] == '.' || name[0] == '_'):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files++
		assert.Empty(t, clockUses(fset, file), "use the Clock of the configuration")
		return nil
	})
	require.NoError(t, err)
	assert.Greater(t, files, 30, "files looked at")
}

func TestR25_TheRuleSees(t *testing.T) {
	// What the rule forbids is found under any name of the import, called or not; what it allows is not.
	for src, want := range map[string]int{
		`import "time"; var _ = time.Now()`:                           1,
		`import t "time"; var f = t.Sleep`:                            1,
		`import "context"; func f() { context.WithTimeout(nil, 0) }`:  1,
		`import "time"; var d = time.Second; var u = time.Unix(0, 0)`: 0,
		`import "context"; func f() { context.WithCancelCause(nil) }`: 0,
		`import "example.com/time2"; var _ = time2.Now()`:             0,
		`import . "time"`: 1,
		`import "time"; func f() { <-time.After(1); time.Tick(1); time.Since(time.Time{}) }`: 3,
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", "package x; "+src, 0)
		require.NoError(t, err)
		assert.Len(t, clockUses(fset, file), want, src)
	}
}

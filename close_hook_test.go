package renew

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// R27: what ignores its ctx is counted in the error, and nothing else: hooks that have
// all run are not, although ctx has ended by the time they are asked.
func TestR27_CloseBlamesNoHookThatHasRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		changes := 0
		ts, err := New(SourceFunc(func(context.Context) (*Token, error) {
			<-release
			return nil, errors.New("late")
		}), Config{Hooks: Hooks{Changed: func(Change) { changes++ }}})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = ts.Token(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = ts.Close(ctx)
		ce, ok := errors.AsType[*CloseError](err)
		if !ok || ce.Running == 0 || strings.Contains(err.Error(), "hook") {
			t.Errorf("Close = %v; want a *CloseError that counts the call, and no hook", err)
		}
		synctest.Wait()
		if changes == 0 {
			t.Error("the hook was not called")
		}
		close(release)
	})
}

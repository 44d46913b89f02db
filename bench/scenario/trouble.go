package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-f29168f7/renew/bench/contender"
)

// What a panic in the source led to.
const (
	panicContained = iota // an error for the callers
	panicInCaller         // it went through the goroutine of the caller that fetched
	panicKills            // the process died
)

// finding is what a child process found out. What does not belong to its case stays zero.
type finding struct {
	Back    float64 // seconds from the end of a caller's context to its return
	Suffer  int     // other callers that got an error, or nothing
	Fetches int
	Panic   int
	Usable  bool // a new caller gets a token afterwards
}

// The cases of scenario e. Each is run in a process of its own, since some contenders do not survive one.
var troubles = map[string]func(contender.Contender) finding{
	"cancel": cancelled,
	"hang":   func(c contender.Contender) finding { return hung(c, false) },
	"deaf":   func(c contender.Contender) finding { return hung(c, true) },
	"panic":  panicking,
}

const (
	others   = 8               // callers beside the first one
	patience = 2 * time.Second // how long a caller without a limit of its own is waited for
)

// Trouble runs one case, "cancel/renew", in this process and prints what it finds.
func Trouble(arg string) error {
	name, who, _ := strings.Cut(arg, "/")
	for _, c := range contender.All() {
		if f := troubles[name]; f != nil && c.Name == who {
			return json.NewEncoder(os.Stdout).Encode(f(c))
		}
	}
	return fmt.Errorf("no case is named %q", arg)
}

// inChild runs one case in a child process.
func inChild(name, who string) (finding, error) {
	self, err := os.Executable()
	if err != nil {
		return finding{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, self, "-trouble="+name+"/"+who).Output()
	if err != nil && name == "panic" && ctx.Err() == nil {
		return finding{Panic: panicKills}, nil
	}
	if err != nil {
		return finding{}, fmt.Errorf("%s/%s: %w", name, who, err)
	}
	var f finding
	err = json.Unmarshal(out, &f)
	return f, err
}

// answer is what a call of a contender came to.
type answer struct {
	err      error
	panicked bool
	at       time.Time
}

// ask calls for a token on a goroutine of its own, which is not waited for if it hangs.
func ask(ctx context.Context, src contender.Source) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			a.panicked = recover() != nil
			a.at = time.Now()
			done <- a
		}()
		_, a.err = src.Reader().Token(ctx)
	}()
	return done
}

// await returns the answer, or false if it does not come in time.
func await(done <-chan answer, within time.Duration) (answer, bool) {
	select {
	case a := <-done:
		return a, true
	case <-time.After(within):
		return answer{}, false
	}
}

// usableNow reports whether a new caller, with a limit of a second, gets a token.
func usableNow(src contender.Source) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	a, ok := await(ask(ctx, src), 2*time.Second)
	return ok && a.err == nil && !a.panicked
}

// suffering counts the answers that are no token. It waits for all together for as long as a caller is patient.
func suffering(calls []<-chan answer) int {
	n, end := 0, time.Now().Add(patience)
	for _, done := range calls {
		if a, ok := await(done, time.Until(end)); !ok || a.err != nil || a.panicked {
			n++
		}
	}
	return n
}

// cancelled cancels the first caller in mid-fetch, while others wait for the same token.
func cancelled(c contender.Contender) finding {
	s := &issuer{takes: 300 * time.Millisecond, life: time.Hour}
	src := c.Open(s.fetch, Hour)
	ctx, cancel := context.WithCancel(context.Background())
	first := ask(ctx, src)
	time.Sleep(50 * time.Millisecond)
	var rest []<-chan answer
	for range others {
		rest = append(rest, ask(context.Background(), src))
	}
	time.Sleep(50 * time.Millisecond)
	at := time.Now()
	cancel()
	f := finding{Back: math.MaxFloat64}
	if a, ok := await(first, patience); ok {
		f.Back = a.at.Sub(at).Seconds()
	}
	f.Suffer = suffering(rest)
	f.Usable = usableNow(src)
	f.Fetches = s.count(time.Time{}, time.Now())
	return f
}

// hung lets the fetch of the first token hang, until its context ends or, where the source is deaf, for ever. All callers have a
// limit of 200 ms, and later one more comes, when the issuer has long been well. A contender that can limit a fetch was told 500 ms.
func hung(c contender.Contender, deaf bool) finding {
	s := &issuer{takes: time.Millisecond, life: time.Hour}
	var calls atomic.Int32
	src := c.Open(func(ctx context.Context) (contender.Grant, error) {
		if calls.Add(1) == 1 {
			if deaf {
				select {}
			}
			<-ctx.Done()
			return contender.Grant{}, ctx.Err()
		}
		return s.fetch(ctx)
	}, contender.Settings{Life: time.Hour, Timeout: 500 * time.Millisecond})
	const limit = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	at := time.Now().Add(limit)
	var all []<-chan answer
	for range others + 1 {
		all = append(all, ask(ctx, src))
	}
	var f finding
	for _, done := range all {
		if a, ok := await(done, time.Until(at)+time.Second); ok {
			f.Back = max(f.Back, a.at.Sub(at).Seconds())
		} else {
			f.Back = math.MaxFloat64
			break
		}
	}
	time.Sleep(time.Until(at.Add(1300 * time.Millisecond)))
	f.Usable = usableNow(src)
	return f
}

// panicking lets the first fetch panic, while others wait.
func panicking(c contender.Contender) finding {
	s := &issuer{takes: time.Millisecond, life: time.Hour}
	var calls atomic.Int32
	var waiting sync.WaitGroup
	waiting.Add(1)
	src := c.Open(func(ctx context.Context) (contender.Grant, error) {
		if calls.Add(1) == 1 {
			waiting.Wait()
			panic("a bug in the source")
		}
		return s.fetch(ctx)
	}, Hour)
	first := ask(context.Background(), src)
	time.Sleep(50 * time.Millisecond)
	var rest []<-chan answer
	for range others {
		rest = append(rest, ask(context.Background(), src))
	}
	time.Sleep(50 * time.Millisecond)
	waiting.Done()
	var f finding
	if a, ok := await(first, patience); ok && a.panicked {
		f.Panic = panicInCaller
	}
	f.Suffer = suffering(rest)
	f.Usable = usableNow(src)
	return f
}

func runTrouble(o Options) (*Result, error) {
	r := &Result{
		Setup: "Each case in a process of its own, all at once, with 8 callers beside the first. Cancelled: a fetch takes 300 ms, and the first caller is cancelled after 100 ms. Hung: the first fetch gets no answer until its context ends, all " +
			"callers have a limit of 200 ms, a contender that can limit a fetch has 500 ms, and 1.5 s later, when the issuer answers again, a new caller comes. Deaf: the same, but that fetch does not heed its context either. " +
			"Panic: the first fetch panics.",
		Figures: []Figure{
			{Name: "cancelled: back after", Format: Seconds},
			{Name: "others that suffer", Format: Count},
			{Name: "fetches", Format: Count},
			{Name: "usable", Format: yesNo},
			{Name: "hung: back after the limit", Format: Seconds},
			{Name: "usable later", Format: yesNo},
			{Name: "deaf: back after the limit", Format: Seconds},
			{Name: "usable later all the same", Format: yesNo},
			{Name: "panic", Format: func(v float64) string {
				return []string{"contained", "in the caller", "kills the process"}[int(v)]
			}},
			{Name: "others that suffer from it", Format: Count},
			{Name: "usable after it", Format: yesNo},
		},
	}
	names := []string{"cancel", "hang", "deaf", "panic"}
	all := contender.All()
	found, errs := make([][]finding, len(all)), make([]error, len(all)*len(names))
	o.Progress("e: all at once")
	var wg sync.WaitGroup
	for i, c := range all {
		if c.NoFailures {
			continue
		}
		found[i] = make([]finding, len(names))
		for k, name := range names {
			wg.Go(func() { found[i][k], errs[i*len(names)+k] = inChild(name, c.Name) })
		}
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, c := range all {
		if c.NoFailures {
			r.none(c.Name, "it knows no failures")
			continue
		}
		cancel, hang, deaf, panics := found[i][0], found[i][1], found[i][2], found[i][3]
		suffer, after := float64(panics.Suffer), truth(panics.Usable)
		if panics.Panic == panicKills {
			suffer, after = others, 0
		}
		r.add(c.Name, back(cancel.Back), float64(cancel.Suffer), float64(cancel.Fetches), truth(cancel.Usable),
			back(hang.Back), truth(hang.Usable), back(deaf.Back), truth(deaf.Usable), float64(panics.Panic), suffer, after)
	}
	of := func(figure string) float64 { return r.of(contender.Ours, figure).Median }
	const soon = 0.1
	r.goal(of("cancelled: back after") < soon, "the cancelled one is back at once", "%s", Seconds(of("cancelled: back after")))
	r.goal(of("others that suffer") == 0, "nobody else suffers", "%.0f of %d", of("others that suffer"), others)
	r.goal(of("usable") == 1 && of("usable later") == 1 && of("usable later all the same") == 1 && of("usable after it") == 1, "usable afterwards",
		"after the cancel: %s, the hang: %s, the deaf hang: %s, the panic: %s",
		yesNo(of("usable")), yesNo(of("usable later")), yesNo(of("usable later all the same")), yesNo(of("usable after it")))
	r.goal(of("panic") == panicContained && of("others that suffer from it") == 0 && max(of("hung: back after the limit"), of("deaf: back after the limit")) < soon, "panics and hangs contained",
		"callers of a hung issuer are back %s after their limit, of a deaf one %s", Seconds(of("hung: back after the limit")), Seconds(of("deaf: back after the limit")))
	return r, nil
}

// back makes an infinite time of one that JSON could not carry.
func back(v float64) float64 {
	if v == math.MaxFloat64 {
		return math.Inf(1)
	}
	return v
}

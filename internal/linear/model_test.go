package linear

import (
	"fmt"
	"math"

	"github.com/anishathalye/porcupine"
)

// kind is what an operation of a history is.
type kind uint8

const (
	// Of callers.
	read        kind = iota // Token or Wait
	rejectBegin             // the first half of a Reject: the token leaves service
	rejectEnd               // the second half: it answers with an error; with a token it is a read

	// Of flights. Callers do not see them; the Source does, in part.
	launch  // a flight starts: before its first Issue is called
	land    // an Issue has returned a token: it is published, or dropped because it is late
	fail    // a flight ends without a token
	expire  // a flight perhaps ends at its timeout, although its Issue returns a token
	restore // the budget forbids a replacement: the token is in service again
)

// forever is the end of an operation that nobody saw end.
const forever = math.MaxInt64

// op is one operation of a history. It took effect at one moment between call and ret.
type op struct {
	kind      kind
	call, ret int64
	client    int

	token     int    // the call of Issue, from 1 up, whose token was returned or landed; 0: an error
	gen       uint64 // of the token that was returned
	reject    int    // the token that was rejected
	stale     bool   // the rejected token was not current any more, as somebody knew
	rejectGen uint64 // its generation
	denied    bool   // the error says that the budget is spent
	hung      bool   // the error says that too many calls hang
	err       error

	flight int  // from 1 up
	late   bool // the flight was told to end: land may come after its end
	small  bool // the budget may be spent
	open   bool // it may not have happened: the history was cut, or nobody could see it
}

// state is the register: a token, in service or not, and the flight.
type state struct {
	gen     uint64
	token   int  // the last one published; 0: none
	serving bool // it is in service
	flight  int  // the last one launched; 0: none
	flying  bool // it runs
	begun   uint16
}

// step returns the states that o leads to, or why it cannot be next.
func (s state) step(o *op) (next []state, why string) {
	next, why = s.happen(o)
	if o.open {
		return append(next, s), ""
	}
	return next, why
}

func (s state) happen(o *op) (next []state, why string) {
	switch o.kind {
	case read:
		return s.answer(o)
	case rejectBegin:
		then := s
		then.begun |= 1 << o.client
		if !s.serving || s.token != o.reject {
			return []state{then}, "" // it is not current: nothing happens (R17)
		}
		stay := then
		then.serving = false
		if o.denied || o.hung || o.small && s.flying {
			return []state{then, stay}, ""
		}
		return []state{then}, ""
	case rejectEnd:
		if s.begun&(1<<o.client) == 0 {
			return nil, "it has not begun"
		}
		s.begun &^= 1 << o.client
		switch {
		case o.denied && (!s.serving || s.token != o.reject):
			return nil, "R22: the budget denies a replacement, and the token is not in service"
		case o.token == 0 && (o.denied || o.hung || o.small):
			return []state{s}, ""
		}
		return s.answer(o)
	case launch:
		switch {
		case s.flying:
			return nil, "R6: two flights at once"
		case s.flight != o.flight-1:
			return nil, "the flight before has not been launched"
		case s.serving:
			return nil, "R17: a flight starts although the token in service was not rejected"
		}
		s.flight, s.flying = o.flight, true
	case land:
		switch {
		case s.flight < o.flight:
			return nil, "R11: a token is published before its flight starts"
		case s.flying && s.flight == o.flight:
			s.flying = false
		case !o.late:
			return nil, "R6: the flight is over"
		case s.serving:
			return []state{s}, "" // a late result counts only while nothing is in service (R8)
		}
		s.gen, s.token, s.serving = s.gen+1, o.token, true
	case fail:
		if !s.flying || s.flight != o.flight {
			return nil, "R6: the flight that failed is not the one that runs"
		}
		s.flying = false
	case expire:
		if s.flight < o.flight {
			return nil, "the flight has not been launched"
		}
		if s.flight == o.flight {
			s.flying = false
		}
	case restore:
		if !s.flying && (s.flight == o.flight || o.flight == 0) && s.token != 0 {
			s.serving = true
		}
	}
	return []state{s}, ""
}

// answer checks what a caller was told.
func (s state) answer(o *op) ([]state, string) {
	switch {
	case o.token == 0 && s.serving:
		return nil, "R3: an error although a token is in service"
	case o.token == 0:
	case s.token != o.token && o.gen < s.gen:
		return nil, "R2: an older token than the one before"
	case s.token != o.token:
		return nil, "R2, R8: a token that was not published, or not then"
	case s.gen != o.gen:
		return nil, "R11: the generation of the token is not its number"
	case !s.serving:
		return nil, "R2: a token that was rejected and is being replaced"
	}
	return []state{s}, ""
}

// model is step for porcupine.
var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(s, in, _ any) []any {
		next, _ := s.(state).step(in.(*op))
		out := make([]any, len(next))
		for i, n := range next {
			out[i] = n
		}
		return out
	},
	Hash: func(s any) uint64 {
		st := s.(state)
		h := st.gen<<32 ^ uint64(st.token)<<40 ^ uint64(st.flight)<<48 ^ uint64(st.begun)<<2
		if st.serving {
			h ^= 1
		}
		if st.flying {
			h ^= 2
		}
		return h * 0x9e3779b97f4a7c15
	},
	DescribeOperation: func(in, _ any) string { return in.(*op).String() },
	DescribeState:     func(s any) string { return s.(state).String() },
}).ToModel()

func (s state) String() string {
	text := "nothing was published"
	if s.token != 0 {
		text = fmt.Sprintf("token %d of generation %d, ", s.token, s.gen)
		if s.serving {
			text += "in service"
		} else {
			text += "withdrawn"
		}
	}
	if s.flying {
		text += fmt.Sprintf(", flight %d runs", s.flight)
	}
	return text
}

func (o *op) String() string {
	got := fmt.Sprintf("token %d of generation %d", o.token, o.gen)
	if o.token == 0 {
		got = fmt.Sprintf("error: %.90v", o.err)
	}
	switch o.kind {
	case read:
		if o.reject != 0 {
			return fmt.Sprintf("worker %d has rejected token %d: %s", o.client, o.reject, got)
		}
		return fmt.Sprintf("worker %d reads: %s", o.client, got)
	case rejectBegin:
		return fmt.Sprintf("worker %d rejects token %d", o.client, o.reject)
	case rejectEnd:
		return fmt.Sprintf("worker %d has rejected token %d: %s", o.client, o.reject, got)
	case launch:
		return fmt.Sprintf("flight %d starts", o.flight)
	case land:
		text := fmt.Sprintf("flight %d lands token %d", o.flight, o.token)
		if o.late {
			text += ", perhaps late"
		}
		return text
	case fail:
		return fmt.Sprintf("flight %d fails", o.flight)
	case expire:
		return fmt.Sprintf("flight %d ends at its timeout, if it has not landed", o.flight)
	}
	return fmt.Sprintf("the token is restored after flight %d", o.flight)
}

package crtauth

// reader reads a message from its front. The first error stays, and after it everything
// that is read is zero. It allocates nothing, whatever length a message claims.
type reader struct {
	rest []byte
	err  error
}

// fail notes the first error.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// take returns the next n bytes, or nil.
func (r *reader) take(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.rest)) {
		r.fail(errTruncated)
	}
	if r.err != nil {
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// number reads an unsigned number of that many bytes, big-endian.
func (r *reader) number(bytes uint64) uint64 {
	var n uint64
	for _, b := range r.take(bytes) {
		n = n<<8 | uint64(b)
	}
	return n
}

// byte reads one byte.
func (r *reader) byte() byte { return byte(r.number(1)) }

// end fails when something is left.
func (r *reader) end() {
	if len(r.rest) > 0 {
		r.fail(errTrailing)
	}
}

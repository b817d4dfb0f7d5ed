package access

import "time"

// hands handle requests. One that has nothing to do waits a little for the next request, because its stack has grown already:
// growing a new one is a twentieth of a read. All are gone soon after the last request.
type hands struct{ waiting chan func() }

func newHands() *hands { return &hands{waiting: make(chan func())} }

// idleFor is how long a hand waits.
const idleFor = 100 * time.Millisecond

// do has f called, and does not wait.
func (h *hands) do(f func()) {
	select {
	case h.waiting <- f:
	default:
		go h.work(f)
	}
}

func (h *hands) work(f func()) {
	idle := time.NewTimer(idleFor)
	defer idle.Stop()
	for {
		f()
		idle.Reset(idleFor)
		select {
		case f = <-h.waiting:
		case <-idle.C:
			return
		}
	}
}

package demoprovider

import "iter"

// history numbers items from 0 and keeps the latest of them.
type history[T any] struct {
	limit int
	first int // number of kept[0]
	kept  []T
}

// add returns the item's number.
func (h *history[T]) add(item T) int {
	if len(h.kept) == h.limit {
		copy(h.kept, h.kept[1:])
		h.kept[h.limit-1] = item
		h.first++
	} else {
		h.kept = append(h.kept, item)
	}
	return h.next() - 1
}

// next is the number that the next item gets.
func (h *history[T]) next() int { return h.first + len(h.kept) }

// at is nil for an item that is not kept. What it points to moves when an item is added.
func (h *history[T]) at(n int) *T {
	if n < h.first || n >= h.next() {
		return nil
	}
	return &h.kept[n-h.first]
}

// all gives the kept items with their numbers, the oldest first.
func (h *history[T]) all() iter.Seq2[int, *T] {
	return func(yield func(int, *T) bool) {
		for i := range h.kept {
			if !yield(h.first+i, &h.kept[i]) {
				return
			}
		}
	}
}

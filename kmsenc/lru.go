package kmsenc

import "container/list"

// lru is a map of at most max entries that lets go of the one used longest ago. It is not safe for concurrent use.
type lru[K comparable, V any] struct {
	max   int
	order *list.List // of *lruEntry[K, V]; front: used last
	items map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{max: limit, order: list.New(), items: make(map[K]*list.Element)}
}

// get returns the value and counts as a use.
func (l *lru[K, V]) get(key K) (value V, ok bool) {
	item, ok := l.items[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(item)
	return item.Value.(*lruEntry[K, V]).value, true
}

// put stores the value and returns the one that had to go for it: its predecessor, or the one used longest ago.
func (l *lru[K, V]) put(key K, value V) (gone V, ok bool) {
	if item, found := l.items[key]; found {
		l.order.MoveToFront(item)
		entry := item.Value.(*lruEntry[K, V])
		gone, entry.value = entry.value, value
		return gone, true
	}
	l.items[key] = l.order.PushFront(&lruEntry[K, V]{key, value})
	if l.order.Len() <= l.max {
		return gone, false
	}
	entry := l.order.Remove(l.order.Back()).(*lruEntry[K, V])
	delete(l.items, entry.key)
	return entry.value, true
}

// remove forgets the key.
func (l *lru[K, V]) remove(key K) {
	if item, ok := l.items[key]; ok {
		l.order.Remove(item)
		delete(l.items, key)
	}
}

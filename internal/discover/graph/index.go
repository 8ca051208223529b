package graph

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"slices"

	"github.com/droveway/droveway/internal/discover"
)

// index finds edges: by their keys, which are too large to keep twice, and by the
// hosts at their ends.
type index struct {
	hash   func(*Key) uint64
	byKey  map[uint64]*node // by hash: a chain
	byHost map[string][]*node
	size   int
}

// node is an edge in an index.
type node struct {
	Edge
	hash    uint64
	next    *node // with the same hash
	changed bool  // since the last Changes
	gone    bool
}

func newIndex() index {
	return index{hash: hasher(), byKey: map[uint64]*node{}, byHost: map[string][]*node{}}
}

// hasher gives a hash that nobody can foresee.
func hasher() func(*Key) uint64 {
	seed := maphash.MakeSeed()
	return func(k *Key) uint64 {
		var h maphash.Hash
		h.SetSeed(seed)
		for _, p := range [...]*discover.Party{&k.Client, &k.Server} {
			s := &p.Service
			for _, text := range [...]string{p.Host, p.Site, s.Unit, s.Container, s.Executable} {
				h.WriteString(text)
			}
			address := p.External.As16()
			h.Write(address[:])
		}
		h.WriteString(k.Protocol)
		var port [2]byte
		binary.NativeEndian.PutUint16(port[:], k.Port)
		h.Write(port[:])
		return h.Sum64()
	}
}

// find gives the edge of a key, or nil.
func (x *index) find(k *Key) *node {
	n := x.byKey[x.hash(k)]
	for n != nil && n.Key != *k {
		n = n.next
	}
	return n
}

// insert adds an edge whose key is in no other.
func (x *index) insert(e Edge) *node {
	n := &node{Edge: e, hash: x.hash(&e.Key)}
	n.next = x.byKey[n.hash]
	x.byKey[n.hash] = n
	for _, h := range n.hosts() {
		x.byHost[h] = append(x.byHost[h], n)
	}
	x.size++
	return n
}

func (x *index) delete(n *node) {
	if first := x.byKey[n.hash]; first != n {
		for first.next != n {
			first = first.next
		}
		first.next = n.next
	} else if n.next != nil {
		x.byKey[n.hash] = n.next
	} else {
		delete(x.byKey, n.hash)
	}
	for _, h := range n.hosts() {
		left := slices.DeleteFunc(x.byHost[h], func(o *node) bool { return o == n })
		if x.byHost[h] = left; len(left) == 0 {
			delete(x.byHost, h)
		}
	}
	n.gone, n.next = true, nil
	x.size--
}

// all gives every edge, in any order.
func (x *index) all() iter.Seq[*node] {
	return func(yield func(*node) bool) {
		for _, n := range x.byKey {
			for n != nil {
				next := n.next // n may be deleted meanwhile
				if !yield(n) {
					return
				}
				n = next
			}
		}
	}
}

package discover

import (
	"math/rand/v2"
	"testing"
)

// What waits is found by its sequence numbers, and the host's oldest goes first,
// however much comes and goes in between.
func TestPendingKeepsTheOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const hosts = 3
	p, lists, model := newPending(), [hosts]waiting{}, [hosts][]uint64{}
	for step := range 3 * blockSlots {
		h, isn := r.IntN(hosts), uint64(step+1)
		if n := len(model[h]); n > 0 && r.IntN(3) == 0 {
			i := r.IntN(n)
			id := p.find(model[h][i])
			if got := p.at(id).isn; got != model[h][i] {
				t.Fatalf("step %d: %d instead of %d", step, got, model[h][i])
			}
			p.remove(&lists[h], id)
			model[h] = append(model[h][:i], model[h][i+1:]...)
			continue
		}
		p.add(&lists[h], slot{isn: isn})
		model[h] = append(model[h], isn)
	}
	left := 0
	for h := range lists {
		for _, want := range model[h] {
			oldest := lists[h].oldest
			if got := p.at(oldest).isn; got != want {
				t.Fatalf("host %d: %d is the oldest, want %d", h, got, want)
			}
			p.remove(&lists[h], oldest)
		}
		left += lists[h].size
	}
	if left != 0 || p.byISN.size != 0 {
		t.Errorf("%d and %d are left", left, p.byISN.size)
	}
	if used := p.used; p.take() > used {
		t.Error("slots that are free are not used again")
	}
}

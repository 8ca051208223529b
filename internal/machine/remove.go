package machine

import (
	"encoding/json"

	"github.com/droveway/droveway/internal/engine/job"
)

type removeArgs struct {
	Machine string `json:"machine"`
}

// defineRemove makes the steps of a removal:
//
//	claim ─▶ remove ─▶ forget
//	  └─────────┘ ║
//	undone: the controller starts it if it is wanted to run
func (c *Controller) defineRemove(args json.RawMessage) ([]job.Step[none], error) {
	var a removeArgs
	if err := decode(KindRemove, args, &a); err != nil {
		return nil, err
	}
	s := on[none]{c, a.Machine}
	return []job.Step[none]{
		{Name: "claim", Do: s.claim, Undo: s.unclaim},
		{Name: "remove", Do: s.removeVolumes, Point: true},
		{Name: "forget", Do: s.forget},
	}, nil
}

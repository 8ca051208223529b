package daemon_test

import (
	"encoding/json"
	"testing"
)

// swapKeys gives an identity with the bus key and token of another.
func swapKeys(t *testing.T, mine, theirs []byte) []byte {
	t.Helper()
	var a, b map[string]map[string]any
	for raw, into := range map[*[]byte]*map[string]map[string]any{&mine: &a, &theirs: &b} {
		var all map[string]json.RawMessage
		must(t, json.Unmarshal(*raw, &all))
		*into = map[string]map[string]any{}
		for _, part := range []string{"bus", "api"} {
			var m map[string]any
			must(t, json.Unmarshal(all[part], &m))
			(*into)[part] = m
		}
	}
	a["bus"]["jwt"], a["bus"]["seed"] = b["bus"]["jwt"], b["bus"]["seed"]
	out, err := json.Marshal(map[string]any{"bus": a["bus"], "api": a["api"], "address": "127.0.0.1"})
	must(t, err)
	return out
}

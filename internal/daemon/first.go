package daemon

import "github.com/droveway/droveway/internal/image/appliance/inside"

// First does the work of an appliance, if this process is the first one in it, and
// powers that machine off. Anywhere else it does nothing and gives false.
func First() bool {
	if inside.Called() {
		inside.Main()
	}
	return inside.Called()
}

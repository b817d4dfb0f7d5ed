package tokenworker

import "fmt"

// Difference is one way in which the surroundings are not what `tokenworker setup` leaves behind.
type Difference struct {
	What string // the thing and its setting, "stream TOKENS_IN: Retention"
	Have string
	Want string
	Why  string // what goes wrong as it is
}

// String is one line for people.
func (d Difference) String() string {
	return fmt.Sprintf("%s is %s, want %s: %s", d.What, d.Have, d.Want, d.Why)
}

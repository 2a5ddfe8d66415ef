package syncargocd

import "time"

// Impatient shortens how long an operation that nobody works on is watched, and how long a wrong commit is, for tests that wait for it.
func Impatient() { orphanAfter, deliverWithin = 5*time.Second, 8*time.Second }

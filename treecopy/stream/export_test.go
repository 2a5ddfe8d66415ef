package stream

// LostForTest is what a broken connection becomes.
var LostForTest = lost

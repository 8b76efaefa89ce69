package live

// CloseCode is why a WebSocket was closed (RFC 6455 section 7.4); docs/events.md says what a client does about each.
type CloseCode uint16

// The codes this package closes with.
const (
	CloseDone       CloseCode = 1000 // the operation has ended and everything was sent: do not reconnect
	CloseGoingAway  CloseCode = 1001 // the server is shutting down: reconnect with since
	CloseProtocol   CloseCode = 1002 // the client broke RFC 6455
	CloseTooBig     CloseCode = 1009 // the client sent more than Config.MaxInbound at once
	CloseTryAgain   CloseCode = 1013 // the events could not be read for Config.GiveUp: reconnect later with since
	CloseAccess     CloseCode = 4401 // who watches may not, or not any more: reconnect only with another key
	CloseNotFound   CloseCode = 4404 // there is no such operation for who watches: do not reconnect
	CloseSlowReader CloseCode = 4408 // the client read too slowly: reconnect with the since the reason names
)

// ending is how a stream is to end.
type ending struct {
	code   CloseCode
	reason string
}

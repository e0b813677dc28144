"""Files in, arrays or plain values out, nothing in them executed; and files written atomically."""

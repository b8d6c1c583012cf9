"""What vendors write in structures of their own: read, and written anew with what is numbers."""

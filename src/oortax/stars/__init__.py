"""stars"""
